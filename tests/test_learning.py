"""``rmfn train`` and ``rmfn evaluate``: what a person types and gets, one line for a mistake."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from flows.cli import main
from pipeline.errors import DatasetError
from rmfn.checkpoint import CheckpointError, load_checkpoint
from rmfn.dataset import save_dataset
from rmfn.runs import RUN, STATE
from tests.trained import folder_bytes, make_dataset

QUICK = ("--epochs", 2, "--seeds", 0, "--hidden", "language=4", "acoustic=2", "--set", "fuse=4")


def run(capfd, *arguments):
    """Exit status, stdout and stderr of ``rmfn ARGUMENTS``."""
    status = main([str(argument) for argument in arguments])
    printed = capfd.readouterr()
    return status, printed.out, printed.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set with splits, and a model of two of its labels."""
    folder = tmp_path_factory.mktemp("learning")
    dataset = make_dataset(60)
    sides = ["train"] * 8 + ["valid"] * 2 + ["test"] * 2
    splits = tuple(sides[int(video[1:])] for video in dataset.videos)
    save_dataset(replace(dataset, splits=splits), folder / "data")
    targets = ("--target", "sentiment", "--target", "mood", "--weight", "mood=0.5")
    status = main(
        [
            str(a)
            for a in ("train", "--data", folder / "data", *targets, *QUICK, "--out", folder / "m")
        ]
    )
    assert status == 0
    return folder


def test_the_flags_become_the_plan(folder):
    manifest = load_checkpoint(folder / "m").manifest
    plan = manifest.training["plan"]
    assert [target.name for target in manifest.labels] == ["sentiment", "mood"]
    assert plan["weights"] == {"mood": 0.5}
    assert plan["settings"]["epochs"] == 2
    assert manifest.config["hidden"] == {"language": 4, "acoustic": 2}
    assert manifest.config["fuse"] == 4
    assert manifest.members == 1


def test_training_tells_what_it_measured(folder, tmp_path, capfd):
    out = tmp_path / "m"
    flags = ("--model-kind", "mfn", "--epochs", 1, "--seeds", 0, "--json", tmp_path / "n.json")
    status, stdout, stderr = run(
        capfd, "train", "--data", folder / "data", "--target", "sentiment", *flags, "--out", out
    )
    assert status == 0, stderr
    assert "A2 has0" in stdout
    assert "constant median" in stdout
    said = json.loads((tmp_path / "n.json").read_text())
    assert said["valid"]["sentiment"]["n"] > 0
    assert load_checkpoint(out).manifest.model == "mfn"


def test_evaluation_as_table_json_and_markdown(folder, tmp_path, capfd):
    data = ("--data", folder / "data", "--split", "test")
    files = ("--json", tmp_path / "e.json", "--markdown", tmp_path / "e.md")
    status, stdout, stderr = run(
        capfd, "evaluate", folder / "m", *data, "--ablate", "--against", folder / "m", *files
    )
    assert status == 0, stderr
    for said in ("has0", "non0", "without language", "p (permutation)", "calibration", "mood: "):
        assert said in stdout, said
    assert "the segments are of 2 videos" in stderr
    found = json.loads((tmp_path / "e.json").read_text())
    assert list(found) == ["sentiment", "mood"]
    assert found["sentiment"]["against"]["differences"]["mae"]["p"] == 1
    assert found["sentiment"]["constants"]["mean"]["corr"] is None  # JSON has no NaN
    text = (tmp_path / "e.md").read_text()
    assert "**Warning:** the segments are of 2 videos" in text
    assert f"| {found['sentiment']['mae']:.3f} |" in text
    status, stdout, _ = run(capfd, "evaluate", folder / "m", *data, "--json", "-")
    assert json.loads(stdout)["mood"]["n"] == found["mood"]["n"]


def test_scoring_what_was_trained_on_is_warned_of(folder, capfd):
    status, _, stderr = run(capfd, "evaluate", folder / "m", "--data", folder / "data")
    assert status == 0
    assert "were trained on: the numbers say nothing of new videos" in stderr


def test_help_teaches(capfd):
    for command, said in (
        ("train", "rmfn train --store features --labels labels.csv --target sentiment --out"),
        ("evaluate", "--against runs/b"),
    ):
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        assert said in capfd.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--out", "OUT"), "say what to learn: --target with one or more of sentiment, happy"),
        (("--target", "joy", "--out", "OUT"), "has no label 'joy'"),
        (("--target", "sentiment"), "say where the model shall go: --out DIR"),
        (("--target", "sentiment:0:1", "--out", "OUT"), "expected 0 to 1"),
        (("--target", "sentiment", "--out", "OUT", "--hidden", "language=many"), "a whole number"),
        (("--target", "sentiment", "--out", "OUT", "--set", "stages"), "expected NAME=VALUE"),
        (("--target", "sentiment", "--out", "OUT", "--set", "stagse=2"), "no setting 'stagse'"),
        (("--target", "sentiment", "--out", "OUT", "--modalities", "smell"), "no modality 'smell'"),
        (("--target", "sentiment", "--out", "OUT", "--model-kind", "rnn"), "no model 'rnn'"),
        (("--target", "sentiment", "--out", "OUT", "--device", "abacus"), "no device 'abacus'"),
    ],
)
def test_a_mistake_is_one_line(folder, tmp_path, capfd, flags, said):
    flags = [tmp_path / "m" if flag == "OUT" else flag for flag in flags]
    status, stdout, stderr = run(capfd, "train", "--data", folder / "data", *flags)
    lines = [line for line in stderr.splitlines() if "error" in line]
    assert status == 2
    assert len(lines) == 1, stderr
    assert said in lines[0]
    assert "Traceback" not in stderr
    assert not stdout.strip()
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--lr", "-1"), "lr must be above 0, got -1"),
        (("--batch", "0"), "batch must be at least 1, got 0"),
        (("--model-kind", "nosuch"), "no model 'nosuch'"),
        (("--set", "stagse=2"), "did you mean 'stages'"),
        (("--hidden", "language=0"), "units must be at least 1, got 0"),
        (("--modalities", "langage"), "did you mean 'language'? (there are language, visual, "),
        (("--plan", "nope.json"), "nope.json: cannot be read as a plan"),
        (("--device", "abacus"), "no device 'abacus'"),
        (("--folds", "1"), "at least 2 folds"),
    ],
)
def test_what_needs_no_data_is_told_before_they_are_read(tmp_path, capfd, flags, said):
    out = tmp_path / "m"
    status, _, stderr = run(capfd, "train", "--data", tmp_path / "none", "--out", out, *flags)
    assert status == 2
    assert said in stderr
    assert not out.exists()


def test_a_scale_is_seen_to_be_none_before_the_store_is_read(tmp_path, capfd):
    data = ("--store", tmp_path / "none", "--labels", tmp_path / "none.csv")
    status, _, stderr = run(capfd, "train", *data, "--target", "a:3:1", "--out", tmp_path / "m")
    assert status == 2
    assert "target 'a:3:1': expected a, a:LOW:HIGH" in stderr


def test_a_failed_training_does_not_block_the_corrected_one(folder, tmp_path, capfd):
    asked = ("train", "--data", folder / "data", "--target", "sentiment", *QUICK)
    asked = (*asked, "--out", tmp_path / "m")
    status, _, stderr = run(capfd, *asked, "--lr", "1e30")
    assert status == 2
    assert "the loss became" in stderr
    assert run(capfd, *asked)[0] == 0


def test_a_finished_model_is_replaced_only_if_that_is_said(folder, tmp_path, capfd):
    out = tmp_path / "m"
    shutil.copytree(folder / "m", out)
    (out / "report.html").write_text("looked at")
    before = folder_bytes(out)
    for more in ((), ("--resume",)):
        # No data are read for that.
        status, _, stderr = run(capfd, "train", "--data", tmp_path / "none", "--out", out, *more)
        assert status == 2
        assert f"error: {out}: a finished model lies there; name another --out, or --replace" in (
            stderr
        )
    assert folder_bytes(out) == before
    data = ("--data", folder / "data", "--target", "mood")
    status, _, stderr = run(capfd, "train", *data, *QUICK, "--out", out, "--replace")
    assert status == 0, stderr
    assert [target.name for target in load_checkpoint(out).manifest.labels] == ["mood"]


def test_the_served_flow_replaces_only_if_that_is_said(folder, tmp_path):
    from flows.train import train

    asked = (str(folder / "m"), {"data": str(tmp_path / "none")}, [], None, None, False, None, [])
    with pytest.raises(CheckpointError, match="a finished model lies there"):
        train.fn(*asked, False)
    with pytest.raises(DatasetError, match="no such data set folder"):
        train.fn(*asked, True)


def test_one_number_of_seeds_is_said_to_be_one_model(tmp_path, capfd):
    asked = ("train", "--data", tmp_path / "none", "--out", tmp_path / "m", "--seeds")
    said = "one model, of seed 5; for 5 models: --seeds 0 1 2 3 4"
    assert said in run(capfd, *asked, "5")[2]
    assert "one model" not in run(capfd, *asked, "0", "1")[2]


@pytest.mark.parametrize(("begun", "said"), [(True, "--resume goes on"), (False, "nothing to go")])
def test_an_interruption_says_whether_it_can_be_gone_on_with(
    folder, tmp_path, capfd, monkeypatch, begun, said
):
    out = tmp_path / "m"

    def interrupt(*_, **__):
        if begun:
            (out / RUN / STATE).mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr("rmfn.train_dataset.train_dataset", interrupt)
    data = ("--data", folder / "data", "--target", "sentiment")
    status, _, stderr = run(capfd, "train", *data, "--out", out)
    assert status == 130
    assert said in stderr


def test_bad_data_are_one_line(folder, tmp_path, capfd):
    dataset = make_dataset(20)
    rows = dataset.sequences[3].features["language"]
    rows.values[0, 0] = np.inf
    save_dataset(dataset, tmp_path / "broken")
    for command in (
        ("train", "--target", "sentiment", "--out", tmp_path / "m"),
        ("evaluate", folder / "m"),
    ):
        status, _, stderr = run(capfd, *command, "--data", tmp_path / "broken")
        assert status == 2
        assert "segment 's3' has an infinite language value in the column 'good'" in stderr
    manifest = json.loads((folder / "m" / "model.json").read_text())
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "model.json").write_text(json.dumps({**manifest, "format": "rmfn/9"}))
    status, _, stderr = run(capfd, "evaluate", tmp_path / "old", "--data", folder / "data")
    assert status == 2
    assert "is no manifest that this version reads: format" in stderr
