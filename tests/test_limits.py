"""Limits on quality, against reports whose faults are planted."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest

from extractors.types import Word, WordFeatures
from extractors.visual_track import follow_speaker
from pipeline.limits import (
    MEASURES,
    Limits,
    examine_store,
    judge,
    measure_clip,
    measure_words,
    read_limits,
    read_pairs,
)
from pipeline.media import MediaNotes
from pipeline.sequence import AlignedSequence
from pipeline.store import Store

GOOD = {
    "words": 10,
    "interpolated": 1,
    "guessed": 2,
    "repeated": 0,
    "voiced_share": 0.8,
    "aligner_score": 0.9,
    "speech_share": 0.6,
    "face_share": 1.0,
    "notes": {"frames": 100, "other_persons": 0, "audio_level": -20.0},
    "warnings": [],
}


def spoil(**changes):
    notes = {**GOOD["notes"], **changes.pop("notes", {})}
    return {**GOOD, **changes, "notes": notes}


def test_a_good_clip_is_ok_and_fully_measured():
    measured = measure_clip(GOOD)
    assert measured == {
        "face_share": 1.0,
        "speech_share": 0.6,
        "aligner_score": 0.9,
        "interpolated_share": 0.1,
        "guessed_share": 0.2,
        "repeated_share": 0.0,
        "voiced_share": 0.8,
        "irregular_share": 0.0,
        "other_faces": 0,
        "clipped_share": 0.0,
        "level": -20.0,
    }
    assert list(measured) == list(MEASURES)
    verdict = judge(measured, Limits())
    assert (verdict.status, verdict.reasons, verdict.rejected_for) == ("ok", (), ())


def test_notes_of_the_decoder_and_of_faces_have_names_of_their_own():
    """One would replace the other, and shares be of the wrong number of frames."""
    faces = follow_speaker([], ("face_present", "faces")).notes
    assert not faces.keys() & {field.name for field in fields(MediaNotes)}


@pytest.mark.parametrize(
    ("quality", "name", "reason"),
    [
        (spoil(face_share=0.49), "face_share", "face_share 0.49 < 0.5"),
        (spoil(speech_share=0.1), "speech_share", "speech_share 0.1 < 0.15"),
        (spoil(aligner_score=0.3), "aligner_score", "aligner_score 0.3 < 0.4"),
        (spoil(interpolated=3), "interpolated_share", "interpolated_share 0.3 > 0.2"),
        (spoil(guessed=4), "guessed_share", "guessed_share 0.4 > 0.3"),
        (spoil(repeated=9), "repeated_share", "repeated_share 0.9 > 0.3"),
        (spoil(voiced_share=0.1), "voiced_share", "voiced_share 0.1 < 0.2"),
        (
            spoil(notes={"frames_irregular": 4, "frames_dropped": 2}),
            "irregular_share",
            "irregular_share 0.06 > 0.05",
        ),
        (spoil(notes={"other_persons": 1}), "other_faces", "other_faces 1 > 0"),
        (spoil(notes={"audio_clipped": 0.002}), "clipped_share", "clipped_share 0.002 > 0.001"),
        (spoil(notes={"audio_level": -47.5}), "level", "level -47.5 < -40"),
    ],
)
def test_each_fault_flags_and_rejects_only_if_that_is_said(quality, name, reason):
    measured = measure_clip(quality)
    flagged = judge(measured, Limits())
    assert (flagged.status, flagged.reasons, flagged.rejected_for) == ("flagged", (reason,), ())
    strict = Limits().but({}, {name: MEASURES[name].usual})
    rejected = judge(measured, strict)
    assert (rejected.status, rejected.reasons) == ("rejected", (reason,))
    assert rejected.rejected_for == (name,)
    assert judge(measured, Limits().but({name: False}, {})).status == "ok"
    assert judge(measure_clip(GOOD), strict).status == "ok"


def test_a_limit_itself_is_good_enough():
    """Beyond is worse than the limit, not at it."""
    at = spoil(face_share=0.5, aligner_score=0.4, interpolated=2)
    assert judge(measure_clip(at), Limits()).status == "ok"


def test_what_a_clip_does_not_have_is_not_judged():
    sound = spoil(face_share=None)
    sound["notes"] = {}
    limits = Limits({}, {name: 1e9 if m.low else -1e9 for name, m in MEASURES.items()})
    found = judge(measure_clip(sound), limits)
    said = "speech_share aligner_score interpolated_share guessed_share repeated_share voiced_share"
    assert found.rejected_for == tuple(said.split())


def test_rejection_goes_before_flags():
    bad = spoil(face_share=0.2, aligner_score=0.1)
    found = judge(measure_clip(bad), Limits().but({}, {"aligner_score": 0.2}))
    assert found.status == "rejected"
    assert found.reasons == ("aligner_score 0.1 < 0.2", "face_share 0.2 < 0.5")
    assert found.rejected_for == ("aligner_score",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.toml", "[flag]\nlevel = -50\nother_faces = false\n[reject]\nface_share = 0.25\n"),
        (
            "l.json",
            '{"flag": {"level": -50, "other_faces": false}, "reject": {"face_share": 0.25}}',
        ),
    ],
)
def test_a_file_changes_the_usual_limits(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    limits = read_limits(tmp_path / name)
    assert limits.reject == {"face_share": 0.25}
    assert limits.flag["level"] == -50
    assert limits.flag["aligner_score"] == MEASURES["aligner_score"].usual
    assert "other_faces" not in limits.flag


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[flag]\nface_shar = 1", r"l.toml: no measure .* 'face_shar'; did you mean face_share"),
        ("[reject]\nzzz = false", r"l.toml: no measure .* 'zzz'; known: face_share"),
        ("[reject]\nlevel = 'low'", r"l.toml: the limit of level must be a number, got 'low'"),
        ("[reject]\nlevel = true", r"must be a number, got True"),
        ("[reject]\nlevel = nan", r"must be a number, got nan"),
        ("[warn]\nlevel = 1", r"l.toml: expected the tables flag and reject, found"),
        ("flag = 3", r"l.toml: expected a limit a measure, found 3"),
        ("[[[", r"l.toml: cannot be read as limits"),
    ],
)
def test_a_bad_file_is_refused_with_its_name(tmp_path, text, match):
    (tmp_path / "l.toml").write_text(text)
    with pytest.raises(ValueError, match=match):
        read_limits(tmp_path / "l.toml")
    with pytest.raises(ValueError, match=r"nothing.toml: cannot be read"):
        read_limits(tmp_path / "nothing.toml")


def test_limits_as_they_are_typed():
    assert read_pairs(["face_share=0.5", "other_faces=off"]) == {
        "face_share": 0.5,
        "other_faces": False,
    }
    for bad in ("face_share", "face_share=", "face_share=much"):
        with pytest.raises(ValueError, match=r"expected MEASURE=NUMBER or MEASURE=off"):
            read_pairs([bad])


def make_rows(clip_id, scores, coverage):
    words = tuple(Word(f"w{n}", float(n), n + 0.5, score) for n, score in enumerate(scores))
    ones = np.ones((len(words), 1), np.float32)
    return AlignedSequence(
        clip_id, words, {"visual": WordFeatures(ones, np.float32(coverage), ("x",))}
    )


def test_what_was_not_measured_when_the_quality_was_kept_is_not_judged():
    """Rows that were made before there were these measures."""
    old = {name: x for name, x in GOOD.items() if name not in ("guessed", "repeated")}
    assert measure_clip(old)["repeated_share"] is None
    assert judge(measure_clip(old), Limits()).status == "ok"


def test_words_are_judged_by_themselves():
    rows = make_rows("a", [0.8, None, 0.6, 0.2], [1, 1, 0, 0])
    assert measure_words(rows) == {
        "face_share": 0.5,
        "aligner_score": pytest.approx(0.6),
        "interpolated_share": 0.25,
        "guessed_share": 0.0,
        "repeated_share": 0.0,
        "voiced_share": None,
    }
    assert measure_words(rows.between(0, 1))["face_share"] == 1


def test_a_store_is_judged_without_its_videos(tmp_path):
    store = Store(tmp_path / "s")
    for clip_id, quality in (("aa", GOOD), ("bb", spoil(face_share=0.1)), ("cc", None)):
        notes = {"clip": f"{clip_id}.mp4", "recipe": '{"name": "toy"}'}
        if quality is not None:
            notes["quality"] = json.dumps(quality)
        store.put_sequence("k", make_rows(clip_id, [0.9], [1]), notes)
    store.put_words("dd", "k", ())  # a clip without rows has nothing to be judged
    found = list(examine_store(store, Limits().but({}, {"face_share": 0.2})))
    assert [(each["clip"], each["status"]) for each in found] == [
        ("aa.mp4", "ok"),
        ("bb.mp4", "rejected"),
        ("cc.mp4", "unknown"),
    ]
    assert found[1]["rejected_for"] == ["face_share"]
    assert found[1]["face_share"] == 0.1
    assert (found[1]["id"], found[1]["key"], found[1]["recipe"]) == ("bb", "k", "toy")
    assert "run rmfn extract again" in found[2]["reasons"][0]
    assert found[2]["level"] is None
    json.dumps(found, allow_nan=False)
