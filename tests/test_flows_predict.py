"""The flow's own logic, with stages that only pretend (test_flows_deployments.py runs it all)."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import MediaError, NoSpeech
from tests.conftest import Served

RESULT: dict[str, Any] = {
    "clip": {"id": "ab12", "path": "/videos/talk.mp4", "duration": 3.0},
    "recipe": {},
    "model": {},
    "utterances": [
        {
            "text": "so | good",
            "start": 0.25,
            "end": 1.5,
            "words": [],
            "prediction": {"sentiment": {"value": 1.234, "interval": [-0.5, 2.96]}},
            "quality": {},
        }
    ],
    "overall": {"sentiment": {"value": 1.234, "interval": [-0.5, 2.96]}},
    "quality": {
        "words": 2,
        "face_share": None,
        "notes": {"other faces": 2.0, "tool": "a|b"},
        "warnings": ["no picture: predicted without the visual modality"],
    },
    "seconds": {"language": 0.1},
}


def test_table_has_a_row_an_utterance() -> None:
    from flows.predict import tabulate_utterances

    assert tabulate_utterances(RESULT) == [
        {
            "start": "0.25",
            "end": "1.50",
            "text": "so | good",
            "sentiment": "+1.23",
            "sentiment interval": "-0.50 to +2.96",
        }
    ]


def test_report_is_markdown_for_a_person() -> None:
    from flows.predict import report_quality

    lines = report_quality(RESULT).splitlines()
    assert lines[0] == "# talk.mp4"
    assert "**Overall:** sentiment +1.23 (-0.50 to +2.96)" in lines
    assert "- no picture: predicted without the visual modality" in lines
    assert "| face share | does not apply |" in lines
    assert "| other faces | 2 |" in lines
    assert r"| tool | a\|b |" in lines
    assert "| language | 0.1 |" in lines
    # Every row of a table has as many cells as its head.
    assert {line.replace(r"\|", "").count("|") for line in lines if line.startswith("|")} == {3}


def test_report_without_warnings_says_so() -> None:
    from flows.predict import report_quality

    calm = {**RESULT, "quality": {**RESULT["quality"], "warnings": []}}
    assert "No warnings." in report_quality(calm).splitlines()


@pytest.mark.parametrize(("value", "kind"), [(2018, "int"), (1.5, "float"), (True, "bool")])
def test_number_for_a_path_says_how_to_quote_it(value: Any, kind: str) -> None:
    from flows.places import check_path

    with pytest.raises(ValueError, match=rf"""path must be text.*\({kind}\).*'"{value}"'"""):
        check_path(value)


def test_relative_path_that_is_missing_names_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.places import check_path

    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"^{tmp_path}/nowhere/talk.mp4: no such file"):
        check_path("nowhere/talk.mp4")
    (tmp_path / "talk.mp4").touch()
    assert check_path("talk.mp4") == tmp_path / "talk.mp4"


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.places import check_path

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "talk.mp4").touch()
    assert check_path("~/talk.mp4") == tmp_path / "talk.mp4"


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (OSError("the network disk hiccuped"), True),
        (MemoryError(), True),
        (FileNotFoundError("gone"), False),
        (PermissionError("not yours"), False),
        (MediaError("broken"), False),
        (ValueError("bad"), False),
    ],
)
def test_only_what_may_pass_is_tried_again(error: BaseException, again: bool) -> None:
    from prefect.states import Failed

    from flows.predict import is_transient

    assert is_transient(None, None, Failed(data=error)) is again


@pytest.mark.parametrize(
    ("error", "level", "kept"),
    [
        (MediaError("broken"), logging.ERROR, False),
        (MediaError("broken"), logging.DEBUG, True),
        (ZeroDivisionError("a defect"), logging.ERROR, True),
        (None, logging.ERROR, True),
    ],
)
def test_traceback_of_what_was_told_is_not_logged_again(
    error: BaseException | None, level: int, kept: bool
) -> None:
    from flows.predict import is_news

    info = None if error is None else (type(error), error, None)
    assert is_news(logging.LogRecord("x", level, "", 0, "failed", None, info)) is kept


@pytest.fixture
def stages(prefect_api: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Stages that do nothing, and a clip that exists; a test replaces the stage it is about."""
    from flows import predict, run

    monkeypatch.setattr(run, "find_clip_words", lambda *given: "ab12")
    monkeypatch.setattr(run, "track_clip", lambda *given: "ab12")
    monkeypatch.setattr(
        run,
        "predict_clip",
        lambda path, **given: {**RESULT, "seconds": {"store": Path(given["store"]).is_dir()}},
    )
    monkeypatch.setattr(predict, "_check_before_work", lambda *given: None)
    (tmp_path / "talk.mp4").touch()
    monkeypatch.chdir(tmp_path)
    return monkeypatch


@pytest.mark.slow
def test_sound_and_picture_go_side_by_side(stages: Any) -> None:
    from flows import predict, run

    together = threading.Barrier(3)
    stages.setattr(run, "find_clip_words", lambda *given: together.wait(30))
    stages.setattr(run, "track_clip", lambda *given: together.wait(30))
    result = predict.predict_video("talk.mp4")
    assert result["utterances"] == RESULT["utterances"]
    assert set(result["seconds"]) == {"store", "speech", "visual", "acoustic", "total"}
    assert result["seconds"]["store"] is True


@pytest.mark.slow
def test_failed_stage_fails_the_run_in_one_line(stages: Any) -> None:
    from prefect.client.orchestration import get_client

    from flows import predict, run

    told = "talk.mp4: no speech was found in 3.0 s of sound"
    calls: list[Any] = []

    def find_nothing(*given: Any) -> str:
        raise NoSpeech(told, "talk.mp4")

    stages.setattr(run, "find_clip_words", find_nothing)
    stages.setattr(run, "predict_clip", lambda *given, **named: calls.append(given))
    state = predict.predict_video("talk.mp4", return_state=True)
    assert not calls
    with get_client(sync_client=True) as client:
        kept = client.read_flow_run(state.state_details.flow_run_id).state
    assert kept is not None
    assert kept.is_failed()
    assert kept.message == told
    with pytest.raises(NoSpeech, match="no speech was found"):
        predict.predict_video("talk.mp4")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Logger 'prefect.task_runs' attempted")
def test_hiccup_is_tried_again_and_bad_input_is_not(stages: Any) -> None:
    from flows import predict, run

    errors: list[Exception] = [OSError("hiccup"), MediaError("broken")]
    calls: list[Any] = []

    def fail_at_first(*given: Any) -> str:
        calls.append(given)
        if errors:
            raise errors.pop(0)
        return "ab12"

    stages.setattr(run, "find_clip_words", fail_at_first)
    quick = predict.find_words.with_options(retry_delay_seconds=0)
    with pytest.raises(MediaError, match="broken"):
        quick("talk.mp4", "embedded", "store", None)
    assert len(calls) == 2
    assert quick("talk.mp4", "embedded", "store", None) < 5
    # Nothing is cached: the same call is made again.
    quick("talk.mp4", "embedded", "store", None)
    assert len(calls) == 4


@pytest.mark.slow
def test_named_store_is_used_and_kept(stages: Any, tmp_path: Path) -> None:
    from flows import predict, run

    seen = []
    stages.setattr(run, "track_clip", lambda *given: seen.append(given[3]))
    predict.predict_video("talk.mp4", store=str(tmp_path / "kept"))
    assert seen == [str(tmp_path / "kept")] * 2
    predict.predict_video("talk.mp4", store="")
    assert not Path(seen[-1]).exists()
    state = predict.predict_video("talk.mp4", store=3, return_state=True)
    assert "parameter store must be text, got 3" in state.message


@pytest.mark.slow
def test_page_is_asked_for_and_linked(stages: Any, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    from flows import predict, run

    asked: list[dict[str, Any]] = []

    def write(path: str, **given: Any) -> dict[str, Any]:
        asked.append(given)
        return {**RESULT, "seconds": {}}

    stages.setattr(run, "predict_clip", write)
    page = tmp_path / "a page.html"
    state = predict.predict_video("talk.mp4", report=str(page), embed_video=True, return_state=True)
    assert state.is_completed()
    assert (asked[0]["report"], asked[0]["embed_video"]) == (str(page), True)
    made = ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id])
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=made))
    links = {each.key: each.data for each in found}
    assert page.as_uri() in links["predict-video-page"]
    predict.predict_video("talk.mp4")
    assert asked[1]["report"] is None
