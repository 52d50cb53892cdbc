"""Word times against planted ones, and a small made network through the real loading code."""

from __future__ import annotations

import json
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from extractors import align_wav2vec2
from extractors.align_wav2vec2 import Wav2Vec2, spell_letters
from extractors.types import Audio, Segment, Transcript
from extractors.wav2vec2_models import MODELS, RATE, Listener, describe_model, load_model
from extractors.weights import WeightsDamaged, WeightsMissing

ALPHABET = "abcdefghijklmnopqrstuvwxyz'"
BLANK, SPACE = 0, 1
LETTERS = {letter: column for column, letter in enumerate(ALPHABET, 2)}
STRIDE, FIELD = 320, 400
FRAME = STRIDE / RATE
EDGE = (FIELD - STRIDE) / 2 / RATE


def hear_planted(samples):
    """Log probabilities where the middle of every frame says its column, in hundredths."""
    count = (len(samples) - FIELD) // STRIDE + 1
    columns = np.round(samples[FIELD // 2 :: STRIDE][:count] * 100).astype(int)
    heard = np.full((count, len(LETTERS) + 2), 0.1 / (len(LETTERS) + 1), np.float32)
    heard[np.arange(count), columns] = 0.9
    return np.log(heard)


def plant(columns):
    """Sound that `hear_planted` hears as these columns, a frame each."""
    samples = np.repeat(np.array(columns, np.float32) / 100, STRIDE)
    return Audio(np.pad(samples, (0, FIELD - STRIDE)), RATE)


def say(words, pause=0, lead=5):
    """Columns of words, letters two frames each with a blank after it; where each one begins and
    its last letter ends, in frames."""
    columns, spans = [BLANK] * lead, []
    for word in words:
        begin = len(columns)
        for letter in word:
            columns += [LETTERS[letter]] * 2 + [BLANK]
        spans.append((begin, len(columns) - 1))
        columns += [SPACE] + [BLANK] * pause
    return columns, spans


@pytest.fixture
def aligner():
    return with_planted(Wav2Vec2())


def with_planted(aligner, language="en"):
    aligner._loaded[language] = Listener(hear_planted, LETTERS, BLANK, SPACE, STRIDE, FIELD)
    return aligner


def check_words(words, tokens, duration):
    assert [word.text for word in words] == tokens
    edges = [edge for word in words for edge in (word.start, word.end)]
    assert all(a <= b for a, b in pairwise(edges))
    assert all(word.start < word.end for word in words)
    assert words[0].start >= 0
    assert words[-1].end <= duration + 1e-9


def starts(words):
    return [word.start for word in words]


def times(spans):
    return [EDGE + begin * FRAME for begin, _ in spans]


TEXT = "the cat sat on all of our books"


def test_words_are_found_where_they_were_planted(aligner):
    columns, spans = say(TEXT.split())
    audio = plant(columns)
    words = aligner(audio, Transcript((Segment(TEXT),)))
    check_words(words, TEXT.split(), audio.duration)
    assert starts(words) == pytest.approx(times(spans), abs=1e-6)
    # A word lasts until the space after it is heard: one frame after its last letter.
    assert [word.end for word in words] == pytest.approx(
        [EDGE + (end + 1) * FRAME for _, end in spans], abs=1e-6
    )
    assert all(word.score == pytest.approx(0.9, abs=1e-5) for word in words)
    assert not any(word.guessed for word in words)


def test_a_pause_belongs_to_no_word(aligner):
    columns, spans = say(TEXT.split(), pause=50)
    # The network may hear the space anywhere in the pause.
    for _, end in spans:
        columns[end + 1], columns[end + 40] = columns[end + 40], columns[end + 1]
    audio = plant(columns)
    words = aligner(audio, Transcript((Segment(TEXT),)))
    assert starts(words) == pytest.approx(times(spans), abs=1e-6)
    ends = [EDGE + end * FRAME + align_wav2vec2.TAIL for _, end in spans]
    assert [word.end for word in words] == pytest.approx(ends, abs=1e-6)


def test_words_that_were_not_said_have_low_scores(aligner):
    columns, _ = say(TEXT.split())
    wrong = "why my gym dry fly by try pygmy"
    words = aligner(plant(columns), Transcript((Segment(wrong),)))
    assert max(word.score for word in words) < 0.4


def test_rough_times_choose_among_equal_words(aligner):
    columns, spans = say(["yes"] * 9, pause=40)
    audio = plant(columns)
    begin, end = (EDGE + edge * FRAME for edge in spans[6])
    words = aligner(audio, Transcript((Segment("yes", begin - 0.1, end + 0.1),)))
    assert starts(words) == pytest.approx([begin], abs=1e-6)


def test_what_is_not_spoken_takes_no_time_of_others(aligner):
    columns, spans = say(["hello", "you"])
    tokens = ["—", "[Music]", "hello", "...", "you", "😀"]
    audio = plant(columns)
    words = aligner(audio, Transcript((Segment(" ".join(tokens)),)))
    check_words(words, tokens, audio.duration)
    assert [word.score is None for word in words] == [True, True, False, True, False, True]
    assert starts([words[2], words[4]]) == pytest.approx(times(spans), abs=1e-6)


def test_numbers_and_symbols_are_found_as_they_are_said(aligner):
    columns, spans = say(["it", "costs", "twenty", "five", "dollars", "today"])
    words = aligner(plant(columns), Transcript((Segment("It costs $25 today."),)))
    expected = [times(spans)[index] for index in (0, 1, 2, 5)]
    assert starts(words) == pytest.approx(expected, abs=1e-6)
    assert words[2].score == pytest.approx(0.9, abs=1e-5)


def test_a_word_that_cannot_be_spelt_is_marked_and_leaves_its_neighbours_alone():
    """The network heard letters for it, but nobody knows which; German "%" has no words here."""
    aligner = with_planted(Wav2Vec2(language="de"), "de")
    columns, spans = say(["nur", "prozent", "davon"])
    tokens = ["Nur", "%", "davon"]
    audio = plant(columns)
    words = aligner(audio, Transcript((Segment(" ".join(tokens)),)))
    check_words(words, tokens, audio.duration)
    assert [word.score is None for word in words] == [False, True, False]
    assert [word.guessed for word in words] == [False, True, False]
    assert starts([words[0], words[2]]) == pytest.approx(times([spans[0], spans[2]]), abs=1e-6)
    assert words[0].end <= words[1].start < words[1].end <= words[2].start
    # Part of a token is enough for a time that was measured.
    columns, spans = say(["nur", "zehn", "prozent", "davon"])
    words = aligner(plant(columns), Transcript((Segment("Nur 10% davon"),)))
    assert starts(words) == pytest.approx(times([*spans[:2], spans[3]]), abs=1e-6)
    assert words[1].score == pytest.approx(0.9, abs=1e-5)
    assert words[1].end == pytest.approx(EDGE + (spans[2][1] + 1) * FRAME, abs=2 * FRAME)
    assert words[1].guessed


@pytest.mark.parametrize(
    ("token", "language", "words", "guessed"),
    [
        ("naïve,", "fr", ["naive"], True),
        ("Straße", "de", ["strasse"], True),
        ("cœur", "fr", ["coeur"], True),
        ("L’été", "fr", ["l'ete"], True),
        ("Don't", "en", ["don't"], False),
        ("25", "de", ["funfundzwanzig"], True),
        ("漢字", "fr", ["?"], True),
        ("m漢n", "fr", ["m?n"], True),
        ("—", "fr", [], False),
        ("42", "xx", ["?"], True),
    ],
)
def test_letters_that_the_network_does_not_know(token, language, words, guessed):
    names = {column: letter for letter, column in LETTERS.items()} | {align_wav2vec2.ANY: "?"}
    spelt = spell_letters(token, language, LETTERS)
    assert ["".join(names[column] for column in word) for word in spelt.words] == words
    assert spelt.guessed == guessed


def test_a_long_text_without_times_is_followed(monkeypatch):
    """Six minutes with a minute of music in the middle, in windows of ten seconds."""
    rng = np.random.default_rng(0)
    lexicon = ["".join(rng.choice(list(ALPHABET[:26]), rng.integers(2, 9))) for _ in range(300)]
    lexicon = [word for word in lexicon if align_wav2vec2.spell_token(word, "fr") == (word,)]
    text = rng.choice(lexicon, 500).tolist()
    head, first = say(text[:250], pause=6)
    tail, second = say(text[250:], pause=6)
    gap = [BLANK] * 3000
    columns = [*head, *gap, *tail]
    truth = times(first) + [time + (len(head) + len(gap)) * FRAME for time in times(second)]
    audio = plant(columns)
    lengths = []

    def listen(samples):
        lengths.append(len(samples) / RATE)
        return hear_planted(samples)

    aligner = Wav2Vec2(language="fr", window=10.0)
    aligner._loaded["fr"] = Listener(listen, LETTERS, BLANK, SPACE, STRIDE, FIELD)
    words = aligner(audio, Transcript((Segment(" ".join(text)),)))
    check_words(words, text, audio.duration)
    assert starts(words) == pytest.approx(truth, abs=1e-6)
    # No more than a piece is heard at once, and little of it twice.
    assert max(lengths) < 22.1
    assert sum(lengths) < 1.8 * audio.duration


def test_memory_does_not_grow_with_the_recording(aligner):
    columns, _ = say(TEXT.split(), pause=20)
    peaks = []
    for repeats in (15, 60):
        audio = plant(columns * repeats)
        said = Transcript((Segment(" ".join([TEXT] * repeats)),))
        tracemalloc.start()
        aligner(audio, said)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.6 * peaks[0]


def test_too_many_words_for_the_sound_are_interpolated(aligner):
    columns, _ = say(["hello"])
    tokens = ["nevertheless"] * 40
    audio = plant(columns)
    words = aligner(audio, Transcript((Segment(" ".join(tokens)),)))
    check_words(words, tokens, audio.duration)
    assert all(word.score is None for word in words)


@pytest.mark.parametrize("seconds", [1 / RATE, 0.01, 5.0])
def test_silence_and_hardly_any_sound(aligner, seconds):
    audio = Audio(np.zeros(round(seconds * RATE), np.float32), RATE)
    words = aligner(audio, Transcript((Segment("hello you"),)))
    check_words(words, ["hello", "you"], audio.duration)
    assert all(word.score is None or word.score < 0.1 for word in words)
    with pytest.raises(ValueError, match="cannot align 2 words to a sound of length 0"):
        aligner(Audio(np.zeros(0, np.float32), RATE), Transcript((Segment("hello you"),)))
    assert aligner(audio, Transcript(())) == ()


# A network that hears tones: its last layer is fitted to a random rest.

TONES = dict(zip("abcdefgh", 250 * 1.33 ** np.arange(8), strict=True))
LENGTH = 0.16  # s of a letter's tone


def play(text, rate=RATE, rng=None):
    """Tones for letters and silence for spaces; when each word begins and ends (s)."""
    time = np.arange(round(LENGTH * rate)) / rate
    phases = np.zeros(len(text)) if rng is None else rng.uniform(0, 2 * np.pi, len(text))
    bits = [
        (letter != " ") * 0.3 * np.sin(2 * np.pi * TONES.get(letter, 0) * time + phase)
        for letter, phase in zip(text, phases, strict=True)
    ]
    quiet = np.zeros(len(time))
    spans, now = [], LENGTH
    for word in text.split(" "):
        spans.append((now, now + len(word) * LENGTH))
        now += (len(word) + 1) * LENGTH
    return Audio(np.concatenate([quiet, *bits, quiet]).astype(np.float32), rate), spans


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Wav2Vec2ForCTC with its tokenizer, as a repository of the hub has them."""
    import torch
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
    )

    folder = tmp_path_factory.mktemp("models") / "wav2vec2-tones"
    folder.mkdir()
    tokens = ["<pad>", "<s>", "</s>", "<unk>", "|", *(letter.upper() for letter in TONES)]
    (folder / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(tokens)}))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    extract = Wav2Vec2FeatureExtractor(do_normalize=False)
    extract.save_pretrained(folder)
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=len(tokens), hidden_size=96, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=96, conv_dim=(96,) * 7, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, feat_extract_norm="layer", do_stable_layer_norm=True,
    )  # fmt: skip
    model = Wav2Vec2ForCTC(config).eval()
    rng = np.random.default_rng(0)
    text = "".join(rng.choice([*TONES, " "], 400))
    text = f" {text} "
    samples = play(text[1:-1], rng=rng)[0].samples
    with torch.inference_mode():
        hidden = model.wav2vec2(torch.from_numpy(samples)[None]).last_hidden_state[0]
    middles = (np.arange(len(hidden)) * STRIDE + FIELD / 2) / RATE
    said = [text[min(int(middle / LENGTH), len(text) - 1)] for middle in middles]
    wanted = torch.zeros(len(hidden), len(tokens))
    for frame, letter in enumerate(said):
        wanted[frame, tokens.index("|" if letter == " " else letter.upper())] = 12.0
    wanted[:, 0] = 4.0  # nothing new: always possible
    padded = torch.cat([hidden, torch.ones(len(hidden), 1)], dim=1)
    fitted = torch.linalg.lstsq(padded, wanted, driver="gelsd").solution
    model.lm_head.weight.data, model.lm_head.bias.data = fitted[:-1].T.contiguous(), fitted[-1]
    model.save_pretrained(folder)
    return folder


SONG = "bad cafe had a face aged cabbage"


@pytest.mark.slow
def test_a_made_network_is_loaded_and_hears(folder):
    aligner = Wav2Vec2(model=str(folder))
    audio, spans = play(SONG)
    tokens = ["Bad,", "café", "had", "a", "face", "aged", "cabbage!"]
    words = aligner(audio, Transcript((Segment(" ".join(tokens)),)))
    check_words(words, tokens, audio.duration)
    assert np.abs(np.array(starts(words)) - [start for start, _ in spans]).max() < 0.06
    assert np.abs(np.array([w.end for w in words]) - [end for _, end in spans]).max() < 0.06
    assert min(word.score for word in words) > 0.5
    other = aligner(audio, Transcript((Segment("hedge fed egg bee deaf had hag"),)))
    assert np.median([word.score for word in other]) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("rate", [22050, 48000])
def test_the_sampling_rate_does_not_matter(folder, rate):
    aligner = Wav2Vec2(model=str(folder))
    said = Transcript((Segment(SONG),))
    expected = starts(aligner(play(SONG)[0], said))
    assert starts(aligner(play(SONG, rate)[0], said)) == pytest.approx(expected, abs=2.1 * FRAME)


@pytest.mark.slow
def test_it_hears_what_the_library_hears(folder):
    import torch
    from transformers import Wav2Vec2ForCTC, Wav2Vec2Processor

    listener = load_model(describe_model(str(folder), "en"), "cpu", 1)
    assert (listener.stride, listener.field) == (STRIDE, FIELD)
    assert listener.letters == {letter: n for n, letter in enumerate(TONES, 5)}
    assert (listener.blank, listener.separator) == (0, 4)
    samples = play(SONG)[0].samples
    values = Wav2Vec2Processor.from_pretrained(folder)(
        samples, sampling_rate=RATE, return_tensors="pt"
    ).input_values
    with torch.inference_mode():
        logits = Wav2Vec2ForCTC.from_pretrained(folder).eval()(values).logits[0]
    heard = listener.hear(samples)
    np.testing.assert_allclose(heard[:, :-1], logits.log_softmax(-1).numpy(), atol=1e-5)
    np.testing.assert_allclose(heard[:, -1], heard[:, :-1].max(axis=1))


@pytest.mark.slow
def test_long_sound_is_heard_in_pieces_that_fit_together(folder, monkeypatch):
    listener = load_model(describe_model(str(folder), "en"), "cpu", 1)
    samples = play(SONG)[0].samples
    whole = listener.hear(samples)
    monkeypatch.setattr("extractors.wav2vec2_models.PIECE", 1.7)
    pieces = listener.hear(samples)
    assert whole.shape == pieces.shape
    assert (whole.argmax(axis=1) == pieces.argmax(axis=1)).mean() > 0.97


@pytest.mark.slow
def test_threads_of_others_are_left_as_they_were(folder):
    import torch

    before = torch.get_num_threads()
    load_model(describe_model(str(folder), "en"), "cpu", before + 1).hear(play(SONG)[0].samples)
    assert torch.get_num_threads() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "vocab.json").unlink(), r"is no wav2vec2 model"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), r"is no wav2vec2 model"),
        (lambda folder: (folder / "config.json").write_text("{}"), r"is no wav2vec2 model"),
        (
            lambda folder: drop_head(folder / "model.safetensors"),
            r"has no lm_head\.bias, lm_head\.weight: it was not trained to hear letters",
        ),
    ],
)
def test_what_is_no_such_model_is_refused(folder, tmp_path, spoil, message):
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    spoil(broken)
    with pytest.raises(WeightsDamaged, match=message):
        load_model(describe_model(str(broken), "en"), "cpu", 1)


def drop_head(file):
    from safetensors.torch import load_file, save_file

    kept = {name: value for name, value in load_file(file).items() if "lm_head" not in name}
    save_file(kept, file, {"format": "pt"})


def test_a_language_without_a_model_is_refused():
    with pytest.raises(ValueError, match=r"no wav2vec2 aligner is known for .*'sw'; known are: ar"):
        Wav2Vec2(language="sw")
    with pytest.raises(ValueError, match=r"known for the language 'sw'.*\[align\] model ="):
        Wav2Vec2(language="auto").require_language("sw")
    with pytest.raises(ValueError, match=r"language is 'de', but the speech is 'fr'"):
        Wav2Vec2(language="de").require_language("fr")
    assert Wav2Vec2(language="sw", model="owner/name").weights[0].repo == "owner/name"


def test_a_model_that_is_not_here_is_named_with_its_place(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    expected = r"wav2vec2-base-960h.*models--facebook--wav2vec2-base-960h.*rmfn weights fetch"
    for aligner in (Wav2Vec2(), Wav2Vec2(language="auto")):
        with pytest.raises(WeightsMissing, match=expected):
            aligner.prepare("en")
        assert [weights.repo for weights in aligner.weights] == [MODELS["en"]]
    with pytest.raises(WeightsMissing, match="no-such-folder"):
        Wav2Vec2(model="./no-such-folder").prepare("en")


@pytest.mark.slow
def test_a_model_in_the_cache_of_the_hub_is_found(folder, tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("RMFN_WEIGHTS", str(tmp_path / "none"))
    place = tmp_path / "models--facebook--wav2vec2-base-960h"
    (place / "refs").mkdir(parents=True)
    (place / "refs/main").write_text("0" * 40)
    (place / "snapshots").mkdir()
    (place / "snapshots" / ("0" * 40)).symlink_to(folder)
    aligner = Wav2Vec2(language="auto")
    aligner.prepare("en")
    assert [weights.repo for weights in aligner.weights] == [MODELS["en"]]
    audio, spans = play(SONG)
    words = aligner(audio, Transcript((Segment(SONG),), "en"))
    assert np.abs(np.array(starts(words)) - [start for start, _ in spans]).max() < 0.06
    with pytest.raises(WeightsMissing, match="xlsr-53-german"):
        aligner.prepare("de")


@pytest.mark.slow
def test_a_device_that_is_left_to_the_machine(folder, monkeypatch):
    import torch

    from extractors.threads import pick_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (pick_device("auto"), pick_device("cuda:1"), pick_device("cpu")) == (
        "cuda", "cuda:1", "cpu",
    )  # fmt: skip
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = Wav2Vec2(model=str(folder), device="auto")(play(SONG)[0], Transcript((Segment(SONG),)))
    assert words == Wav2Vec2(model=str(folder))(play(SONG)[0], Transcript((Segment(SONG),)))


def test_what_does_not_change_the_times_does_not_change_the_recipe():
    assert Wav2Vec2(threads=7, device="cuda") == Wav2Vec2()
    assert Wav2Vec2(model="owner/name") != Wav2Vec2()
