"""Transcripts from files: what is read, and how what is wrong is said."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.types import Segment
from pipeline.transcripts import LATEST, find_transcript, read_transcript


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_text_keeps_tokens_and_lines(tmp_path):
    path = write(tmp_path, "a.txt", "Well,  I paid $5.50 —\n\nfor 'that'!\r\n")
    transcript = read_transcript(path)
    assert transcript.segments == (Segment("Well, I paid $5.50 —"), Segment("for 'that'!"))
    assert transcript.tokens == ["Well,", "I", "paid", "$5.50", "—", "for", "'that'!"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_with_a_mark_are_known(tmp_path, encoding):
    path = write(tmp_path, "a.txt", "naïve café".encode(encoding))
    assert read_transcript(path).tokens == ["naïve", "café"]


def test_srt(tmp_path):
    text = (
        "1\r\n00:00:01,000 --> 00:00:02,500\r\nHello <i>there</i>\r\nworld\r\n\r\n"
        "2\r\n00:01:03,250 --> 00:01:04,000\r\n{\\an8}Tom &amp; Jerry\r\n"
    )
    segments = read_transcript(write(tmp_path, "a.srt", text)).segments
    assert segments == (
        Segment("Hello there world", 1.0, 2.5),
        Segment("Tom & Jerry", 63.25, 64.0),
    )


def test_vtt(tmp_path):
    text = (
        "WEBVTT\n\nNOTE nothing\n\nfirst\n00:01.000 --> 00:02.500 align:start\n"
        "<v Ann>Hello <00:01.500>there\n\n01:00:03.000 --> 01:00:04.000\nBye\n"
    )
    segments = read_transcript(write(tmp_path, "a.vtt", text)).segments
    assert segments == (Segment("Hello there", 1.0, 2.5), Segment("Bye", 3603.0, 3604.0))


def test_vtt_as_video_sites_write_it_for_what_a_machine_heard(tmp_path):
    """Words come with their own times, and each line is shown again while the next one is said."""
    text = (
        "WEBVTT\nKind: captions\nLanguage: en\n\n"
        "00:00:00.160 --> 00:00:01.910 align:start position:0%\n \n"
        "I<00:00:00.400><c> really</c><00:00:00.800><c> enjoyed</c>\n\n"
        "00:00:01.910 --> 00:00:01.920 align:start position:0%\nI really enjoyed\n \n\n"
        "00:00:01.920 --> 00:00:03.670 align:start position:0%\nI really enjoyed\n"
        "this<00:00:02.080><c> movie</c>\n\n"
        "00:00:03.670 --> 00:00:03.680 align:start position:0%\nthis movie\n \n\n"
        "00:00:03.680 --> 00:00:05.000 align:start position:0%\nthis movie\n"
        "no<00:00:04.000><c> no</c>\n"
    )
    assert read_transcript(write(tmp_path, "a.vtt", text)).segments == (
        Segment("I really enjoyed", 0.16, 1.91),
        Segment("this movie", 1.92, 3.67),
        Segment("no no", 3.68, 5.0),
    )


def test_vtt_as_meetings_are_written_down(tmp_path):
    """Cues have names, and comments, styles and regions stand between them."""
    text = (
        "\ufeffWEBVTT\r\n\r\nSTYLE\r\n::cue { color: red }\r\n\r\nNOTE a comment here\r\n"
        "of two lines\r\n\r\n3f1c-aa/1-0\r\n00:00:01.000 --> 00:00:02.000\r\n"
        "<v Ann Lee>I really enjoyed</v>\r\n\r\n\r\nNOTE again\r\n\r\n3f1c-aa/2-0\r\n"
        "00:00:02.000 --> 00:00:03.500\r\n<v Bob>this movie.</v>\r\n\r\n"
        "00:00:04.000 --> 00:00:05.000\r\n<v Ann Lee>this movie.</v>\r\n"
    )
    assert read_transcript(write(tmp_path, "a.vtt", text)).segments == (
        Segment("I really enjoyed", 1.0, 2.0),
        Segment("this movie.", 2.0, 3.5),
        Segment("this movie.", 4.0, 5.0),
    )


def test_cues_out_of_order_are_sorted(tmp_path):
    text = "1\n00:00:05,000 --> 00:00:06,000\nb\n\n2\n00:00:01,000 --> 00:00:02,000\na\n"
    assert read_transcript(write(tmp_path, "a.srt", text)).tokens == ["a", "b"]


def test_words_become_segments_at_pauses(tmp_path):
    words = [
        {"text": "a", "start": 0.0, "end": 0.4, "score": 0.9},
        {"word": "b", "start": 0.6, "end": 1.0},
        {"text": "c", "start": 1.6, "end": 2.0},
    ]
    path = write(tmp_path, "a.json", json.dumps({"words": words}))
    assert read_transcript(path).segments == (Segment("a b", 0.0, 1.0), Segment("c", 1.6, 2.0))


@pytest.mark.parametrize("key", ["segments", "utterances"])
def test_segments_of_whisper_and_of_a_prediction(tmp_path, key):
    content = {key: [{"text": " a b", "start": 1, "end": 2}, {"text": "c", "start": 3, "end": 4.5}]}
    path = write(tmp_path, "a.json", json.dumps(content))
    assert read_transcript(path).segments == (Segment("a b", 1.0, 2.0), Segment("c", 3.0, 4.5))


@pytest.mark.parametrize("content", [["a", "b c"], {"text": "a\nb c"}, [{"text": "a b c"}]])
def test_json_without_times(tmp_path, content):
    transcript = read_transcript(write(tmp_path, "a.json", json.dumps(content)))
    assert transcript.tokens == ["a", "b", "c"]
    assert all(segment.start is None for segment in transcript.segments)


times = st.tuples(st.integers(0, 10**7), st.integers(0, 10**5)).map(
    lambda t: (t[0] / 1000, (t[0] + t[1]) / 1000)
)
texts = st.lists(st.from_regex(r"[A-Za-z0-9$%.,'!?é]{1,8}", fullmatch=True), min_size=1, max_size=6)


@given(st.lists(st.tuples(times, texts), min_size=1, max_size=6))
def test_what_is_written_as_srt_is_read_again(tmp_path_factory, cues):
    cues = sorted(cues, key=lambda cue: cue[0][0])

    def stamp(seconds):
        ms = round(seconds * 1000)
        return f"{ms // 3600000:02d}:{ms // 60000 % 60:02d}:{ms // 1000 % 60:02d},{ms % 1000:03d}"

    text = "\n".join(
        f"{n}\n{stamp(start)} --> {stamp(end)}\n{' '.join(words)}\n"
        for n, ((start, end), words) in enumerate(cues, 1)
    )
    path = write(tmp_path_factory.mktemp("srt"), "a.srt", text)
    expected = tuple(Segment(" ".join(words), *span) for span, words in cues)
    assert read_transcript(path).segments == expected


MARKS = (
    *("-->", "00:00:01,000", "00:00:02.5", "99999999:00:00,000", "-1:00", "align:start", "1"),
    *("WEBVTT", "NOTE", "STYLE", "<b>", "</", "{\\an8}", "&amp;", "&#x110000;", "words"),
    *("\n", "\n\n", "\r", "\x0b", "\u202e", "\ufeff"),
)
numbers = st.one_of(st.integers(), st.floats(), st.integers(10**305, 10**330))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(("segments", "words", "utterances", "text", "word", "start", "end")),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)
items = st.fixed_dictionaries({"text": st.text(max_size=8), "start": numbers, "end": numbers})


@given(
    st.one_of(
        st.tuples(
            st.sampled_from((".srt", ".vtt", ".txt")),
            st.lists(st.one_of(st.sampled_from(MARKS), st.text(max_size=3)), max_size=20).map(
                lambda parts: " ".join(parts).encode("utf-8", "ignore")
            ),
        ),
        st.tuples(st.just(".json"), values.map(lambda value: json.dumps(value).encode())),
        st.tuples(
            st.just(".json"), st.lists(items, max_size=3).map(lambda v: json.dumps(v).encode())
        ),
        st.tuples(st.sampled_from((".srt", ".vtt", ".txt", ".json")), st.binary(max_size=40)),
    )
)
@settings(max_examples=300)
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory, file):
    suffix, content = file
    path = write(tmp_path_factory.mktemp("any"), f"a{suffix}", content)
    try:
        transcript = read_transcript(path)
    except ValueError:
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read_transcript(path)
        return
    assert transcript.tokens
    for segment in transcript.segments:
        assert (segment.start is None) == (segment.end is None)
        assert segment.start is None or 0 <= segment.start <= segment.end <= LATEST


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.doc", "x", r"a\.doc: expected a transcript with a suffix out of \.txt.*found \.doc"),
        ("a.txt", "", r"a\.txt: expected a transcript, found no words"),
        ("a.txt", " \n\t", r"found no words"),
        ("a.txt", b"fine\ncaf\xe9", r"a\.txt, line 2: expected UTF-8 text, found the byte 0xe9"),
        ("a.txt", "hi\0", r"expected text, found binary data"),
        ("a.srt", "just words", r"expected subtitles with times .* found none"),
        ("a.srt", "1\n00:00:01 --> oops\nx\n", r"a\.srt, line 2: expected times like.*'00:00:01 -"),
        ("a.srt", "1\n00:00:05,000 --> 00:00:01,000\nx\n", r"cue 1: expected an end after the st"),
        ("a.vtt", "WEBVTT\n\n00:05.000 --> 00:01.000\nx\n", r"cue"),
        ("a.json", "{", r"a\.json, line 1: expected JSON"),
        ("a.json", '{"x": 1}', r"expected one of the keys .* found 'x'"),
        ("a.json", "3", r"expected a list, found a number"),
        ("a.json", "[3]", r"item 1: expected text or an object with text, found a number"),
        ("a.json", '[{"start": 1}]', r'item 1: expected the key "text"'),
        ("a.json", '[{"text": "a", "start": "1", "end": 2}]', r"expected start in seconds, found"),
        ("a.json", '[{"text": "a", "start": 1}]', r"expected end in seconds, found nothing"),
        ("a.json", '[{"text": "a", "start": -1, "end": 2}]', r"expected start >= 0 seconds"),
        ("a.json", '[{"text": "a", "start": 2, "end": 1}]', r"expected an end after the start 2 s"),
        ("a.json", '[{"text": "a", "start": NaN, "end": 1}]', r"expected start >= 0 seconds"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        read_transcript(write(tmp_path, name, content))


def test_a_missing_file_and_a_folder_are_said(tmp_path):
    with pytest.raises(ValueError, match=r"none\.txt: no such transcript"):
        read_transcript(tmp_path / "none.txt")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(ValueError, match=r"folder\.txt: cannot be read"):
        read_transcript(tmp_path / "folder.txt")


def test_a_transcript_beside_a_video_is_found_in_a_fixed_order(tmp_path):
    video = write(tmp_path, "clip.mp4", b"")
    cue = "1\n00:00:01,000 --> 00:00:02,000\na\n"
    best_last = [
        ("clip.txt", "a"),
        ("clip.json", '{"text": "a"}'),
        ("clip.vtt", f"WEBVTT\n\n{cue.replace(',', '.')}"),
        ("clip.srt", cue),
        ("clip.mp4.txt", "a"),
        ("clip.mp4.json", '["a"]'),
        ("clip.mp4.srt", cue),
    ]
    write(tmp_path, "clip2.txt", "of another")
    assert find_transcript(video) is None
    for name, content in best_last:
        path = write(tmp_path, name, content)
        assert find_transcript(video) == path
        assert find_transcript(str(video)) == path


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"title": "My day", "views": 7}', r"""clip.json: expected one of the keys .* 'title'"""),
        ("{", "clip.json, line 1: expected JSON"),
        ("[" * 100_000, "not taken as a transcript"),
        (b"\xff\xd8\x00", "expected UTF-8"),
        ("[]", "found no words"),
        (
            json.dumps(
                {"clip": {}, "recipe": {}, "model": {}, "utterances": [{"text": "a"}], "x": 1}
            ),
            "clip.json: it tells what rmfn predict heard",
        ),
    ],
)
def test_a_json_that_is_no_transcript_is_passed_over_and_said(tmp_path, caplog, content, reason):
    write(tmp_path, "clip.json", content)
    assert find_transcript(tmp_path / "clip.mp4") is None
    assert re.search(reason, caplog.text)
    behind = write(tmp_path, "clip.txt", "a")
    assert find_transcript(tmp_path / "clip.mp4") == behind


def test_a_broken_transcript_is_not_replaced_by_what_a_machine_hears(tmp_path):
    path = write(tmp_path, "clip.srt", "no times")
    assert find_transcript(tmp_path / "clip.mp4") == path
    with pytest.raises(ValueError, match="expected subtitles with times"):
        read_transcript(path)


def test_folders_and_the_clip_itself_are_no_transcripts(tmp_path):
    (tmp_path / "clip.txt").mkdir()
    assert find_transcript(tmp_path / "clip.mp4") is None
    text = write(tmp_path, "speech.txt", "a")  # named as a clip by mistake
    assert find_transcript(text) is None
