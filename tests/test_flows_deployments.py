"""``rmfn serve`` and the command that users type, for real: own server, own home, own port."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.conftest import ROOT, Served, group_lives, serve, shared

pytestmark = pytest.mark.slow


def type_in(served: Served, line: str) -> subprocess.CompletedProcess:
    """Type a line in a second terminal, in the project's folder."""
    return subprocess.run(
        line,
        shell=True,
        cwd=ROOT,
        env=served.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )


def read_run(output: str) -> Any:
    """The flow run that the command's output names."""
    from prefect.client.orchestration import get_client

    uuid = next(line.split()[-1] for line in output.splitlines() if "UUID:" in line)
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(uuid))


def find_talking_clip() -> Path:
    sample = ROOT / "sample_videos" / "happy.mp4"
    return sample if sample.exists() else shared("clips/grid_bbaf2n.mpg")


def test_command_as_typed_predicts(prefect_api: Served) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    clip = os.path.relpath(find_talking_clip(), ROOT)
    typed = type_in(
        prefect_api, f"prefect deployment run predict-video --param path={clip} --watch"
    )
    assert typed.returncode == 0, typed.stdout + typed.stderr + prefect_api.log.read_text()
    flow_run = read_run(typed.stdout)
    assert flow_run.state.is_completed()

    result = flow_run.state.result()
    assert result["clip"]["path"] == str((ROOT / clip).absolute())
    assert result["utterances"]
    for utterance in result["utterances"]:
        for predicted in utterance["prediction"].values():
            low, high = predicted["interval"]
            assert low <= predicted["value"] <= high
    assert result["overall"].keys() == result["utterances"][0]["prediction"].keys()
    assert result["seconds"].keys() >= {"speech", "visual", "acoustic", "total"}
    json.dumps(result, allow_nan=False)

    with get_client(sync_client=True) as client:
        made = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id]))
        )
    artifacts = {artifact.key: artifact for artifact in made if artifact.key}
    assert artifacts.keys() == {"predict-video-utterances", "predict-video-quality"}
    rows = json.loads(artifacts["predict-video-utterances"].data)
    assert [row["text"] for row in rows] == [each["text"] for each in result["utterances"]]
    assert "**Overall:**" in artifacts["predict-video-quality"].data
    assert not list((prefect_api.home / "tmp").glob("rmfn-*/rmfn-*"))


def test_full_name_and_bad_path_give_the_reason(prefect_api: Served) -> None:
    typed = type_in(
        prefect_api,
        "prefect deployment run predict-video/predict-video --param path=nowhere.mp4 --watch",
    )
    assert typed.returncode == 1
    reason = f"{ROOT / 'nowhere.mp4'}: no such file"
    assert read_run(typed.stdout).state.message.startswith(reason)
    shown = " ".join(typed.stdout.split())
    assert reason in shown
    assert "Traceback" not in typed.stdout + typed.stderr
    assert "Traceback" not in prefect_api.log.read_text()


def test_deployments_can_be_listed(prefect_api: Served) -> None:
    """Prefect's server answers this with 422 beside a fastapi that is too new."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        assert "predict-video" in {deployment.name for deployment in client.read_deployments()}


def test_number_as_path_is_explained(prefect_api: Served) -> None:
    from flows.predict import predict_video

    state = predict_video(2018, return_state=True)  # type: ignore[call-overload]
    assert state.is_failed()
    assert """--param path='"2018"'""" in state.message


def test_runs_stay_below_the_root(prefect_api: Served) -> None:
    """The folder in which it was started; others are refused before they are looked at."""
    shown = prefect_api.log.read_text()
    assert f"Runs may use what is below {ROOT}, and nothing else (--root)" in shown
    typed = type_in(
        prefect_api, "prefect deployment run predict-video --param path=/etc/passwd --watch"
    )
    assert typed.returncode == 1
    assert read_run(typed.stdout).state.message == (
        "parameter path: /etc/passwd is outside of the folders that this `rmfn serve` may use: "
        f"{ROOT} (its --root says which)"
    )


def test_it_listens_to_this_machine_alone(prefect_api: Served) -> None:
    port = int(prefect_api.api_url.rsplit(":", 1)[1].split("/")[0])
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            address, hexadecimal = local.split(":")
            if state == "0A" and int(hexadecimal, 16) == port:
                listening.append(address)
    assert listening == ["0100007F"]  # 127.0.0.1, its bytes from behind


def test_a_root_must_be_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flows.cli import main

    (tmp_path / "file").touch()
    for name, found in (("file", "a file"), ("nowhere", "nothing there")):
        assert main(["serve", "--root", str(tmp_path / name)]) == 2
        said = f"error: --root {tmp_path / name}: expected a folder, found {found}\n"
        assert capsys.readouterr().err == said


def test_only_one_serves(prefect_api: Served) -> None:
    typed = type_in(prefect_api, "rmfn serve")
    assert typed.returncode == 2
    assert f"already running (process {prefect_api.process.pid}" in " ".join(
        (typed.stdout + typed.stderr).split()
    )
    assert "Traceback" not in typed.stdout + typed.stderr


def test_end_leaves_nothing_behind(served: Served, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.prefect_plugin import SERVED_FILE, answers

    # A database that has its tables already saves a dozen seconds.
    with (
        closing(sqlite3.connect(served.home / "prefect.db")) as made,
        closing(sqlite3.connect(tmp_path / "prefect.db")) as copy,
    ):
        made.backup(copy)
    with serve(tmp_path) as ending:
        with (
            temporary_settings({PREFECT_API_URL: ending.api_url}),
            get_client(sync_client=True) as client,
        ):
            deployment = client.read_deployment_by_name("predict-video/predict-video")
            client.create_flow_run_from_deployment(
                deployment.id, parameters={"path": str(find_talking_clip())}
            )
            # The end must find a run at work: its stages have a folder.
            deadline = time.monotonic() + 90
            while not list((tmp_path / "tmp").glob("rmfn-*/rmfn-*")):
                assert time.monotonic() < deadline, ending.log.read_text()
                time.sleep(0.1)
            time.sleep(2)
        ending.process.terminate()
        # Well before the half minute after which Prefect kills what does not listen.
        assert ending.process.wait(timeout=25) == 0, ending.log.read_text()
        # A child that is still importing sees at the end of it that its parent has gone.
        deadline = time.monotonic() + 60
        while group_lives(ending.process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not group_lives(ending.process.pid)
    assert not (tmp_path / SERVED_FILE).exists()
    assert not list((tmp_path / "tmp").glob("rmfn-*"))
    assert not answers(ending.api_url)
    assert "Traceback" not in ending.log.read_text()


def test_busy_port_is_left_to_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_SERVER_API_PORT, temporary_settings

    from flows.deployments import HOST, choose_port

    with socket.socket() as busy:
        busy.bind((HOST, 0))
        busy.listen()
        port = busy.getsockname()[1]
        with temporary_settings({PREFECT_SERVER_API_PORT: port}):
            assert choose_port() != port
    with temporary_settings({PREFECT_SERVER_API_PORT: port}):
        assert choose_port() == port


def test_limit_must_let_one_run() -> None:
    from flows.deployments import serve_flows

    with pytest.raises(ValueError, match="limit of runs at a time must be at least 1, got 0"):
        serve_flows(limit=0)
