"""Versions of a model: judged on segments that none learns from, taken only if better, all kept."""

from __future__ import annotations

import fcntl
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import rmfn.retrain
from pipeline.errors import DatasetError
from rmfn.dataset import Target, load_dataset, save_dataset
from rmfn.predict import Predictor
from rmfn.registry import Registry
from rmfn.retrain import (
    Comparison,
    Rule,
    compare_errors,
    decide,
    describe_decision,
    measure_errors,
    retrain,
)
from tests.planted import PLAN, make_planted

FAST = replace(PLAN, settings=replace(PLAN.settings, epochs=1))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models" / "mood")


def read(registry: Registry, version: str) -> dict:
    return json.loads((registry.folder / version / "decision.json").read_text())


def test_a_better_candidate_is_taken_and_the_former_is_kept(registry):
    first = retrain(registry, make_planted(40, 1, splits=False), FAST)
    assert first["promoted"]
    assert "nothing to compare it with" in first["why"]
    assert registry.current() == registry.folder / "v1"
    before = (registry.folder / "v1" / "weights.safetensors").read_bytes()
    frozen = (registry.folder / "frozen.json").read_bytes()

    longer = replace(PLAN, settings=replace(PLAN.settings, epochs=15))
    second = retrain(registry, make_planted(200, 2, splits=False, videos=30), longer)
    assert second["promoted"]
    assert second["comparison"]["high"] < 0
    assert second["comparison"]["segments"] == first["segments"]["frozen"]
    assert registry.current() == registry.folder / "v2"
    assert (registry.folder / "current").read_text() == "v2\n"
    assert (registry.folder / "v1" / "weights.safetensors").read_bytes() == before
    assert (registry.folder / "frozen.json").read_bytes() == frozen
    assert read(registry, "v2") == json.loads(json.dumps(second))
    assert list(registry.decisions()) == ["v1", "v2"]

    # A third that has learned next to nothing is kept, with the reason, but not used.
    third = retrain(registry, make_planted(20, 3, splits=False), FAST)
    assert not third["promoted"]
    assert third["comparison"]["difference"] > 0
    assert "not shown to be better" in third["why"]
    assert registry.current() == registry.folder / "v2"
    assert Predictor.load(registry.folder / "v3")
    assert read(registry, "v3")["current"] == "v2"
    # And back by hand.
    (registry.folder / "current").write_text("v1\n")
    assert registry.current() == registry.folder / "v1"
    assert registry.candidate().name == "v4"


@pytest.mark.parametrize("what", ["videos", "speakers"])
def test_nothing_of_the_frozen_videos_and_speakers_is_learned_from(registry, what):
    dataset = make_planted(60, 1)
    test = set(dataset.of_split("test"))
    people = tuple("ann" if n in test else f"of {v}" for n, v in enumerate(dataset.videos))
    retrain(registry, replace(dataset, speakers=people), FAST)
    frozen = json.loads((registry.folder / "frozen.json").read_text())
    assert frozen["speakers"] == ["ann"]
    # Five new segments are of a frozen video by nobody known, or of a new one by a frozen speaker.
    again = make_planted(30, 2, splits=False)
    known = frozen["videos"][0] if what == "videos" else "ann"
    names = tuple(known if n < 5 else name for n, name in enumerate(getattr(again, what)))
    decision = retrain(registry, replace(again, **{what: names}), FAST)
    for version in ("v1", "v2"):
        splits = Predictor.load(registry.folder / version).manifest.splits
        used = {video for videos in splits.values() for video in videos}
        assert used
        assert not used & set(frozen["videos"])
    assert decision["segments"]["frozen"] == len(test)
    assert decision["segments"]["learned"] == 60 - len(test) + 25
    assert any(note.startswith("5 segments are of videos or") for note in decision["notes"])


def test_the_split_test_given_first_is_what_is_frozen(registry):
    dataset = make_planted(60, 1)
    retrain(registry, dataset, FAST)
    frozen = json.loads((registry.folder / "frozen.json").read_text())
    assert frozen["ids"] == [dataset.ids[n] for n in dataset.of_split("test")]


def test_what_is_called_test_later_is_not_learned_from(registry):
    retrain(registry, make_planted(60, 1), FAST)
    fresh = make_planted(60, 2)
    test = fresh.of_split("test")
    decision = retrain(registry, fresh, FAST)
    splits = Predictor.load(registry.folder / decision["version"]).manifest.splits
    used = {video for videos in splits.values() for video in videos}
    assert used & set(fresh.videos)
    assert not used & {fresh.videos[n] for n in test}
    assert any(note.startswith(f"{len(test)} segments are of the split test") for note in
               decision["notes"])  # fmt: skip
    counts = decision["segments"]
    assert counts["learned"] == 120 - counts["frozen"] - len(test)


def test_all_but_the_frozen_videos_are_learned_from(registry):
    """Each member stops on other videos, so that together they have learned from every one."""
    dataset = make_planted(60, 1)
    decision = retrain(registry, dataset, replace(FAST, seeds=(0, 1)))
    splits = Predictor.load(registry.folder / decision["version"]).manifest.splits
    test = {dataset.videos[n] for n in dataset.of_split("test")}
    assert splits["train"] == sorted(set(dataset.videos) - test)


def test_frozen_segments_without_a_label_do_not_count(registry):
    dataset = make_planted(60, 1)
    test = dataset.of_split("test")
    labels = dataset.labels["sentiment"].copy()
    labels[test[0]] = np.nan
    retrain(registry, replace(dataset, labels={"sentiment": labels}), FAST)
    found = retrain(registry, make_planted(20, 2, splits=False), FAST)["comparison"]
    assert found["segments"] == len(test) - 1
    assert found["low"] <= found["difference"] <= found["high"]


def test_frozen_segments_stay_as_they_were(registry):
    dataset = make_planted(60, 1)
    retrain(registry, dataset, FAST)
    other = dataset.labels["sentiment"].copy()
    other[dataset.of_split("test")] = 3.0
    decision = retrain(registry, replace(dataset, labels={"sentiment": other}), FAST)
    assert any("are frozen and stay as they were" in note for note in decision["notes"])
    kept = load_dataset(registry.data)
    for n in dataset.of_split("test"):
        place = kept.ids.index(dataset.ids[n])
        assert kept.labels["sentiment"][place] == dataset.labels["sentiment"][n]


def test_frozen_segments_that_were_changed_behind_its_back_are_refused(registry):
    dataset = make_planted(60, 1)
    retrain(registry, dataset, FAST)
    labels = dataset.labels["sentiment"].copy()
    labels[dataset.of_split("test")[0]] = 3.0
    save_dataset(replace(dataset, labels={"sentiment": labels}), registry.data)
    with pytest.raises(DatasetError, match="frozen segments are not those that were frozen"):
        retrain(registry, make_planted(20, 2, splits=False), FAST)
    save_dataset(dataset.take(dataset.of_split("train")), registry.data)
    with pytest.raises(DatasetError, match="frozen segments are gone"):
        retrain(registry, make_planted(20, 2, splits=False), FAST)
    with pytest.raises(DatasetError, match="already there, and never changed"):
        registry.freeze({})
    (registry.folder / "frozen.json").write_text("{}")
    with pytest.raises(DatasetError, match="cannot be made again"):
        retrain(registry, dataset, FAST)


def test_a_killed_retraining_is_gone_on_with(registry, monkeypatch):
    dataset = make_planted(60, 1)

    def kill(now):
        if now.epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrain(registry, dataset, PLAN, on_progress=kill)
    assert registry.current() is None
    epochs = []
    decision = retrain(
        registry, dataset, PLAN, on_progress=lambda now: epochs.append(now.epoch.number)
    )
    assert decision["version"] == "v1"
    assert epochs == [2, 3], "it began anew"

    # With other segments meanwhile, what lies there unfinished is of no use.
    more = make_planted(30, 2, splits=False)
    with pytest.raises(KeyboardInterrupt):
        retrain(registry, more, PLAN, on_progress=kill)
    assert registry.current().name == "v1"
    decision = retrain(registry, make_planted(40, 3, splits=False), PLAN)
    assert decision["version"] == "v2"
    assert decision["segments"]["learned"] > 60


def test_only_one_retrains_at_a_time(registry):
    registry.folder.mkdir(parents=True)
    with (registry.folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DatasetError, match="another retraining of it is running"):
            retrain(registry, make_planted(60, 1), FAST)


def test_a_pointer_to_nowhere_is_told(registry):
    assert registry.current() is None
    registry.folder.mkdir(parents=True)
    for name in ("v7", "../elsewhere", ""):
        (registry.folder / "current").write_text(name)
        with pytest.raises(DatasetError, match="expected the name of a version beside it"):
            registry.current()


def test_labels_other_than_the_current_model_s_are_refused(registry):
    retrain(registry, make_planted(60, 1), FAST)
    with pytest.raises(DatasetError, match=r"predicts sentiment .*another model"):
        retrain(registry, make_planted(20, 2), replace(FAST, targets=(Target("sentiment", low=0),)))


@pytest.mark.parametrize(
    ("low", "high", "accept", "margin", "promoted"),
    [
        (-0.2, -0.01, "better", None, True),
        (-0.2, 0.01, "better", None, False),
        (-0.2, 0.0, "better", None, False),
        (-0.2, 0.01, "not-worse", 0.02, True),
        (-0.2, 0.03, "not-worse", 0.02, False),
        (0.001, 0.01, "not-worse", 0.02, True),  # worse, but by less than matters
    ],
)
def test_the_rule(low, high, accept, margin, promoted):
    found = Comparison(0.9, 1.0, (low + high) / 2, low, high, 0.1, 50, 12)
    rule = Rule(accept, margin)
    assert decide(found, rule, margin or 0.06, Path("v4"))[0] is promoted
    assert "on 50 frozen segments" in decide(found, rule, 0.06, Path("v4"))[1]


@pytest.mark.parametrize("rule", [Rule(), Rule("not-worse", 0.5)])
def test_one_video_alone_shows_nothing(rule):
    """Redrawing the only one there is gives a point, which is below every limit."""
    random = np.random.default_rng(1)
    theirs = random.random(30) + 1
    found = compare_errors(theirs - 1, theirs, ["v"] * 30, rule)
    assert found.difference == pytest.approx(-1)
    assert (found.low, found.high, found.p) == (None, None, None)
    promoted, why = decide(found, rule, 0.5, Path("v4"))
    assert not promoted
    assert "on one video or speaker: on 30 frozen" in why
    assert "-1.000 (95% interval not known)" in why


def test_versions_that_cannot_be_told_apart_are_told_so_at_once(registry):
    few = make_planted(40, 1, splits=False)
    first = retrain(registry, replace(few, videos=tuple("abc"[n % 3] for n in range(40))), FAST)
    assert first["promoted"]
    assert any("of one video or speaker" in note for note in first["notes"])
    second = retrain(registry, make_planted(40, 2, splits=False), FAST)
    assert not second["promoted"]
    assert second["comparison"]["high"] is None
    text = (registry.folder / "v2" / "decision.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == json.loads(json.dumps(second))
    assert "(not known) |" in describe_decision(second)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"accept": "always"}, "'better' or 'not-worse', got 'always'"),
        ({"margin": -1}, "margin must be a number above 0, got -1"),
        ({"margin": "big"}, "margin must be a number above 0, got 'big'"),
    ],
)
def test_a_rule_that_is_none(settings, message):
    with pytest.raises(ValueError, match=message):
        Rule(**settings)


def test_the_interval_redraws_whole_videos():
    """Brute force: the same draws, one by one."""
    random = np.random.default_rng(1)
    groups = [f"v{n // 7}" for n in range(84)]
    shift = np.repeat(random.normal(size=12), 7)
    ours, theirs = random.random(84) + shift, random.random(84)
    found = compare_errors(ours, theirs, groups, Rule(draws=4000))
    assert found.difference == pytest.approx((ours - theirs).mean())
    means = (ours - theirs).reshape(12, 7).mean(1)
    spread = means.std(ddof=1) / np.sqrt(12)
    # Standard error of a mean over 12 videos, not over 84 segments.
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(spread, rel=0.15)
    assert (found.segments, found.groups) == (84, 12)


def test_errors_are_absolute_or_wrong_and_averaged_over_labels():
    class Said:
        def predict_values(self, sequences, videos):
            return np.array([[1.0, 0.8, 0.2], [2.0, 0.3, 0.7], [0.0, 0.5, 0.5]])

    dataset = make_planted(40).take([0, 1, 2])
    dataset = replace(
        dataset,
        labels={
            "a": np.array([3.0, 2.0, np.nan]),
            "b": np.array([0.0, 0.0, np.nan]),
        },
    )
    errors = measure_errors(Said(), dataset, (Target("a"), Target("b", "binary", 0, 1)))
    np.testing.assert_array_equal(errors, [(2 + 0) / 2, (0 + 1) / 2, np.nan])


def test_a_decision_reads_as_markdown(registry, monkeypatch):
    decision = retrain(registry, make_planted(60, 1), FAST)
    assert describe_decision(decision).startswith("# v1 is taken\n\nIt is the first version")
    found = Comparison(0.9, 1.0, -0.1, -0.2, 0.01, 0.07, 12, 3)
    monkeypatch.setattr(rmfn.retrain, "compare_errors", lambda *_: found)
    text = describe_decision(retrain(registry, make_planted(20, 2, splits=False), FAST))
    assert text.startswith("# v2 is not taken; v1 stays\n")
    assert "| difference | -0.100 (-0.200 to +0.010) |" in text
    assert "- the frozen segments are of 3 speakers or videos only: the interval is rough" in text
