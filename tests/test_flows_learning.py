"""Clips with labels become data sets, models and versions: by command and by deployment."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extractors.types import Word
from flows.cli import main
from flows.collect import find_labelled
from pipeline.errors import DatasetError
from pipeline.store import Store
from rmfn.baselines import MODELS
from rmfn.dataset import load_dataset, save_dataset
from rmfn.systems import GROUPS
from tests.conftest import Served, serve
from tests.planted import make_planted, make_videos

PLAN = {
    "hidden": {"acoustic": 4},
    "model_settings": {"fuse": 6, "summary": 5, "head": 8},
    "settings": {"epochs": 12, "batch": 16, "lr": 1e-2},
    "seeds": [0],
}


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(PLAN))
    return file


def run(capsys, *arguments) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_labelled_clips_are_found_by_name_stem_or_path(tmp_path):
    for name in ("a.mp4", "a.txt", "b.mp4", "notes.md", "deep/c.wav", "deep/b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    labels = tmp_path / "labels.csv"
    labels.write_text("video,mood\na,1\ndeep/c.wav,2\nstored.mp4,3\n")
    found = find_labelled(tmp_path)
    assert found.clips == [tmp_path / "a.mp4", tmp_path / "deep" / "c.wav"]
    assert set(found.names) == {"a", "deep/c.wav"}
    labels.write_text("video,mood\nb.mp4,1\n")
    with pytest.raises(DatasetError, match=r"'b.mp4' could be .* write its path below the folder"):
        find_labelled(tmp_path)
    labels.write_text("video,mood\ndeep/b.mp4,nice\n,2\n")
    with pytest.raises(DatasetError, match="row 2: expected a number as mood"):
        find_labelled(tmp_path)


def test_labels_off_the_scale_are_told_by_row_before_any_work(tmp_path, capsys):
    (tmp_path / "a.wav").touch()
    labels = tmp_path / "labels.csv"
    labels.write_text("video,mood,other\na,9,x\na,1,1\n")
    with pytest.raises(
        DatasetError, match=r"labels\.csv: 1 problem .*\n  row 2: expected -3 to 3 as"
    ):
        find_labelled(tmp_path, targets=["mood:-3:3"])
    Store(tmp_path / "s").put_words("aaaa", "k", [Word("a", 0, 1, 1)], {"clip": "a.wav"})
    for command in ("train", "compare"):
        data = ("--store", tmp_path / "s", "--labels", labels, "--target", "mood:-3:3")
        status, _, err = run(capsys, command, *data, "--out", tmp_path / command)
        assert status == 2
        assert "row 2: expected -3 to 3 as mood, found '9'" in err


def test_retrain_reports_a_bad_clip_and_keeps_versions(tmp_path, capsys, plan):
    store, into = tmp_path / "store", tmp_path / "models" / "mood"
    recipe = make_videos(tmp_path / "one", store, 8)
    bad = tmp_path / "one" / "broken.wav"
    bad.write_text("this is no sound")
    with (tmp_path / "one" / "labels.csv").open("a") as labels:
        labels.write("broken.wav,0,1,1\n")
    given = ("--store", store, "--into", into, "--recipe", recipe, "--plan", plan)
    status, out, err = run(capsys, "retrain", tmp_path / "one", *given)
    assert status == 1, out + err  # a clip failed, and the others went on
    assert "# v1 is taken" in out
    assert "broken.wav" in out
    assert "Traceback" not in err

    make_videos(tmp_path / "two", store, 4, seed=1)
    status, out, err = run(
        capsys, "retrain", tmp_path / "two", *given, "--accept", "not-worse", "--json", "-"
    )
    assert status == 0, err
    decision = json.loads(out)
    assert decision["version"] == "v2"
    assert decision["segments"]["new"] == 16
    assert [clip["status"] for clip in decision["clips"]] == ["done"] * 4
    current = (into / "current").read_text().strip()
    assert current == ("v2" if decision["promoted"] else "v1")

    from flows.run import find_model

    assert find_model(str(into)) == into / current
    # The same videos under other names are the same segments.
    (tmp_path / "two").rename(tmp_path / "three")
    for sound in sorted((tmp_path / "three").glob("*.wav")):
        sound.rename(sound.with_name(f"again-{sound.name}"))
    table = (tmp_path / "three" / "labels.csv").read_text().replace("talk", "again-talk")
    (tmp_path / "three" / "labels.csv").write_text(table)
    again = json.loads(run(capsys, "retrain", tmp_path / "three", *given, "--json", "-")[1])
    assert again["segments"]["learned"] == decision["segments"]["learned"]


def test_words_mean_the_same_in_every_labels_file(tmp_path, capsys, plan):
    """A later file may lack some of the words, even all but one; another word is refused."""
    store, into = tmp_path / "store", tmp_path / "models" / "pace"
    plan.write_text(json.dumps({**PLAN, "settings": {**PLAN["settings"], "epochs": 1}}))

    def label(folder: str, count: int, seed: int, names: dict[str, str]) -> Path:
        recipe = make_videos(tmp_path / folder, store, count, seed)
        file = tmp_path / folder / "labels.csv"
        head, *lines = file.read_text().splitlines()
        rows = [line.rpartition(",") for line in lines]
        kept = [f"{row},{names[mood]}" for row, _, mood in rows if mood in names]
        file.write_text("\n".join([head, *kept]))
        return recipe

    recipe = label("one", 8, 0, {"-1": "slow", "1": "fast"})
    given = ("--store", store, "--into", into, "--recipe", recipe, "--plan", plan, "--json", "-")
    status, _, err = run(capsys, "retrain", tmp_path / "one", *given)
    assert status == 0, err
    known = load_dataset(into / "data")
    assert [target.classes for target in known.targets] == [("fast", "slow")]

    label("two", 2, 1, {"-1": "slow"})
    status, _, err = run(capsys, "retrain", tmp_path / "two", *given)
    assert status == 0, err
    every = load_dataset(into / "data")
    assert len(every) > len(known)
    assert set(every.labels["mood"][len(known) :]) == {1.0}

    label("three", 2, 2, {"-1": "calm", "1": "fast"})
    status, _, err = run(capsys, "retrain", tmp_path / "three", *given)
    assert status == 2
    assert "the mood 'calm' is none of fast, slow" in err
    assert load_dataset(into / "data").ids == every.ids


def test_tune_and_ablate_from_a_store(tmp_path, capsys, plan):
    recipe = make_videos(tmp_path / "videos", tmp_path / "store", 8)
    assert run(capsys, "extract", tmp_path / "videos", "--store", tmp_path / "store", "--recipe",
               recipe)[0] == 0  # fmt: skip
    data = ("--store", tmp_path / "store", "--labels", tmp_path / "videos" / "labels.csv")
    data = (*data, "--target", "mood:-1:1", "--plan", plan)
    out = tmp_path / "tuned"
    status, shown, err = run(capsys, "tune", *data, "--out", out, "--trials", "2", "--folds", "2")
    assert status == 0, err
    assert "the best of 2 settings" in shown
    status, shown, err = run(
        capsys, "train", *data[:-2], "--plan", out / "plan.json", "--out", tmp_path / "model"
    )
    assert status == 0, err
    status, shown, err = run(
        capsys, "ablate", *data, "--out", tmp_path / "abl", "--seeds", "1", "--folds", "2",
        "--models", "rmfn-r1", "marn", "--json", tmp_path / "abl.json",
    )  # fmt: skip
    assert status == 0, err
    assert "| MARN |" in shown
    assert json.loads((tmp_path / "abl.json").read_text())["protocol"].startswith("2-fold")


def test_compare_says_a_line_a_system_and_writes_the_tables(tmp_path, capfd, monkeypatch):
    data, file = tmp_path / "planted", tmp_path / "plan.json"
    save_dataset(make_planted(), data)
    file.write_text(json.dumps({"hidden": {"language": 4, "acoustic": 2},
                                "settings": {"epochs": 1}}))  # fmt: skip
    asked = ("compare", data, "--plan", file, "--models", "ef-lstm", "df", "--workers", "1")
    status, shown, err = run(capfd, *asked, "--seeds", "1")
    assert status == 0, err
    assert "[1/2] ef-lstm, seed 0: sentiment " in err
    assert "[2/2] df, seed 0: sentiment " in err
    assert "| EF-LSTM |" in shown
    out = tmp_path / "planted-comparison"
    assert {file.name for file in out.glob("*.*")} == {
        *("question.json", "table.md", "table.csv", "table.json", "plot.png")
    }
    # More seeds: what is done is not done again. A system that fails is in the exit status.
    import rmfn.compare

    plain = rmfn.compare.score_system

    def fail(dataset, plan, task):
        if task == ("df", 1):
            raise ValueError("too deep")
        return plain(dataset, plan, task)

    monkeypatch.setattr(rmfn.compare, "score_system", fail)
    status, shown, err = run(capfd, *asked, "--seeds", "2", "--json", "-")
    assert status == 1
    assert "[3/4] ef-lstm, seed 1: sentiment " in err
    assert "[4/4] df, seed 1: ValueError: too deep" in err
    rows = json.loads(shown)["rows"]
    assert [len(row["seeds"]) for row in rows] == [2, 1]


@pytest.mark.parametrize(
    ("plan", "flags", "seeds"),
    [({}, [], 5), ({"seeds": [0]}, [], 1), ({"seeds": [0]}, ["--seeds", "2"], 2)],
)
@pytest.mark.parametrize("command", ["compare", "ablate"])
def test_a_comparison_takes_the_plan_s_seeds(
    tmp_path, monkeypatch, capsys, command, plan, flags, seeds
):
    save_dataset(make_planted(), tmp_path / "planted")
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    asked: list[Any] = []

    def stop(dataset, out, models, seeds, *_):
        asked.append(list(seeds))
        raise ValueError("that is enough")

    monkeypatch.setattr("rmfn.compare.compare", stop)
    given = (tmp_path / "planted", "--plan", tmp_path / "plan.json", "--out", tmp_path / "x")
    assert "that is enough" in run(capsys, command, *given, *flags)[2]
    assert asked == [list(range(seeds))]


def test_compare_helps(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    shown = capsys.readouterr().out
    for name in (*MODELS, *GROUPS):
        assert name in shown, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tune", "--out", "x"], "say on what data"),
        (["compare"], "say on what data: DATASET"),
        (["compare", "nowhere"], "no such data set folder"),
        (["compare", "d", "--data", "d"], "say the data set once"),
        (["compare", "d", "--workers", "0"], "at least one worker, got 0"),
        (["tune", "--out", "x", "--store", "s"], "say on what data"),
        (["ablate", "--out", "x", "--data", "nowhere"], "no such data set folder"),
        (["ablate", "--out", "x"], "say on what data: DATASET"),
        (["ablate", "nowhere", "--out", "x"], "no such data set folder"),
        (["compare", "nowhere", "--models", "rmf"], "there is no system 'rmf'"),
        (["compare", "nowhere", "--modalities", "langage"], "did you mean 'language'"),
        (["retrain", "nowhere", "--store", "s", "--into", "m"], "no such file or folder: /"),
        (["retrain", "v", "--store", "s", "--into", "m", "--margin", "-1"], "above 0, got -1"),
        (["tune", "--out", "x", "--data", "d", "--plan", "none.json"], "cannot be read"),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as a plan"),
        ("[]", "a plan is a JSON object, got list"),
        ('{"sets": 1}', "unknown setting 'sets'"),
        ('{"settings": {"rate": 1}}', "unknown setting 'rate'"),
        ('{"settings": {"epochs": "many"}}', r"settings.epochs: .* \(found 'many'\)"),
    ],
)
def test_a_plan_that_is_none(tmp_path, text, message):
    from rmfn.plans import load_plan

    file = tmp_path / "plan.json"
    file.write_text(text)
    with pytest.raises(DatasetError, match=message):
        load_plan(file)


def test_a_plan_survives_its_file(tmp_path):
    from rmfn.plans import load_plan, save_plan
    from rmfn.running import TrainSettings
    from rmfn.targets import Target
    from rmfn.train_dataset import Plan

    plan = Plan(
        targets=(Target("mood", "classes", 0, 1, ("sad", "glad")),),
        weights={"mood": 2.0},
        modalities=("acoustic",),
        model_settings={"attention_gain": "learned", "stages": 2},
        settings=TrainSettings(lr=3e-3, schedule="cosine"),
        seeds=(4, 5),
    )
    save_plan(plan, tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == plan
    (tmp_path / "part.json").write_text('{"settings": {"epochs": 3}}')
    assert load_plan(tmp_path / "part.json") == Plan(settings=TrainSettings(epochs=3))


@pytest.fixture
def served_here(tmp_path: Path) -> Iterator[Served]:
    """A server whose runs may use the test's own folder; Prefect in this process talks to it."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    (tmp_path / "home").mkdir()
    with (
        serve(tmp_path / "home", "--root", str(tmp_path)) as running,
        temporary_settings({PREFECT_API_URL: running.api_url}),
    ):
        yield running


@pytest.mark.slow
def test_deployments_extract_predict_train_and_retrain(
    served_here: Served, tmp_path: Path, plan
) -> None:
    """Started by name, as `prefect deployment run` does; no model is loaded to recognise speech."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    videos, store = tmp_path / "videos", tmp_path / "store"
    recipe = make_videos(videos, store, 8)
    (videos / "broken.wav").write_text("this is no sound")
    with (videos / "labels.csv").open("a") as labels:
        labels.write("broken.wav,0,1,1\n")
    asked: dict[str, dict[str, Any]] = {
        "extract-dataset": {"videos": videos, "store": store, "recipe": recipe},
        "retrain": {
            "videos": videos, "store": store, "recipe": recipe, "plan": plan,
            "into": tmp_path / "models", "target": ["mood:-1:1"],
        },
        "predict-folder": {
            "path": videos, "store": store, "recipe": recipe, "model": tmp_path / "models",
        },
        "train-model": {"data": tmp_path / "models" / "data", "out": tmp_path / "model",
                        "plan": plan},
    }  # fmt: skip
    with get_client(sync_client=True) as client:

        def start(name: str) -> tuple[Any, dict[str, Any]]:
            deployment = client.read_deployment_by_name(f"{name}/{name}")
            given = {
                key: value if isinstance(value, list) else str(value)
                for key, value in asked[name].items()
            }
            flow_run = client.create_flow_run_from_deployment(deployment.id, parameters=given)
            deadline = time.monotonic() + 240
            while not flow_run.state.is_final():
                assert time.monotonic() < deadline, served_here.log.read_text()
                time.sleep(0.5)
                flow_run = client.read_flow_run(flow_run.id)
            assert flow_run.state.is_completed(), (
                f"{flow_run.state.message}\n{served_here.log.read_text()}"
            )
            made = client.read_artifacts(
                artifact_filter=ArtifactFilter(
                    flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id])
                )
            )
            return flow_run.state.result(), {each.key: each.data for each in made if each.key}

        found, artifacts = start("extract-dataset")
        status = {Path(clip["path"]).name: clip["status"] for clip in found["clips"]}
        assert status.pop("broken.wav") == "failed"
        assert set(status.values()) == {"done"}
        assert artifacts.keys() == {"extract-dataset-clips", "extract-dataset-progress"}
        rows = json.loads(artifacts["extract-dataset-clips"])
        assert [row["clip"] for row in rows] == [clip["path"] for clip in found["clips"]]
        assert artifacts["extract-dataset-progress"] == 100.0

        found, artifacts = start("retrain")
        assert found["version"] == "v1"
        assert (tmp_path / "models" / "current").read_text() == "v1\n"
        assert [clip["status"] for clip in found["clips"]].count("failed") == 1
        assert artifacts["retrain-decision"].startswith("# v1 is taken")

        found, artifacts = start("predict-folder")
        assert [clip["status"] for clip in found["clips"]].count("done") == 8
        assert artifacts.keys() == {"predict-folder-clips", "predict-folder-progress"}
        assert all("mood" in c["overall"] for c in found["clips"] if c["status"] == "done")
        assert (store / "predictions.parquet").is_file()

        found, artifacts = start("train-model")
        assert (tmp_path / "model" / "model.json").is_file()
        assert found["metrics"]["valid"]["mood"]["n"] > 0
        assert "## Measured" in artifacts["train-model-metrics"]


@pytest.mark.slow
def test_flows_explain_mistakes(prefect_api: Served, tmp_path: Path) -> None:
    from flows.extract import extract_dataset
    from flows.predict_folder import predict_folder
    from flows.retrain import retrain
    from flows.train import train_model

    state = retrain(str(tmp_path), "s", "m", accept="always", return_state=True)  # type: ignore[call-overload]
    assert "'better' or 'not-worse', got 'always'" in state.message
    state = extract_dataset(2018, "s", return_state=True)  # type: ignore[call-overload]
    assert """--param videos='"2018"'""" in state.message
    state = predict_folder(str(tmp_path / "none"), "s", return_state=True)  # type: ignore[call-overload]
    assert state.message == f"no such file or folder: {tmp_path}/none"
    state = train_model(str(tmp_path / "m"), return_state=True)  # type: ignore[call-overload]
    assert "say on what data" in state.message
