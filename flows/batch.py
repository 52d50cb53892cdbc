"""Many clips, each in a worker process: one that fails, hangs or crashes is reported, no more.

What is finished is known again by the bytes of the file: a batch that was killed goes on where it
was, and one that is given ten more videos tomorrow does ten.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from extractors.threads import leave_cores_to_stages
from extractors.types import Transcript
from flows import run
from pipeline.clip_run import Progress, ignore_progress, make_key
from pipeline.container import identify_file
from pipeline.errors import ClipError
from pipeline.folder import FileIndex, check_places, find_media
from pipeline.isolation import Done, run_isolated
from pipeline.memory import available_memory
from pipeline.outcomes import describe_failure, describe_success, get_outcome, put_outcome
from pipeline.pace import Pace
from pipeline.process import process_clip
from pipeline.scratch import share_scratch
from pipeline.store import Store
from pipeline.transcripts import read_beside
from pipeline.whole import sweep_folder

FILES = "files.json"  # in the store: what is known of the files, so that it is found out once
# A clip may take so long before it counts as hanging: far more than a busy machine needs.
LIMIT_BASE, LIMIT_SHARE = 300.0, 30.0  # s; seconds a second of video
WORKER_MEMORY = 2.5e9  # bytes, with the processes that measure face and voice for it

Record = dict[str, Any]
Runner = Callable[..., None]
"""As `run_isolated`: the tasks, spread in one way or another."""


@dataclass(frozen=True)
class Asked:
    """What is wanted of every clip.

    Attributes
    ----------
    recipe : name or path of a recipe.
    store : the folder for what is finished.
    model : folder of a checkpoint to predict with; None = features only.
    pages : folder for a page of every clip (`rmfn.pages.clip`) that is predicted; None = no pages.
    """

    recipe: str
    store: str
    model: str | None = None
    pages: str | None = None


@dataclass(frozen=True)
class Told:
    """How a batch stands.

    Attributes
    ----------
    finished, failed, total : clips.
    left : seconds that the rest may take at the speed measured so far; None = not known yet.
    running : {clip: {stage at work: its share done, None if it does not say}}
    record : of a clip that was just finished.
    """

    finished: int
    failed: int
    total: int
    left: float | None
    running: dict[str, dict[str, float | None]]
    record: Record | None = None


def put_through(path: str, progress: Progress = ignore_progress, *, asked: Asked) -> Record:
    """Put one clip's words, tracks, rows and prediction into the store; what a worker does.

    The transcript that lies beside the clip is used, if there is one.

    Returns
    -------
    ``id``, ``status`` (done, reused or failed), ``stage`` and ``reason`` of a failure,
    ``duration``, ``quality``, with a model ``utterances`` and ``overall``, and with pages ``page``,
    its name. It is kept in the store, where the next batch finds it (`pipeline.outcomes`).

    Raises
    ------
    OSError : the store cannot be written.
    WeightsMissing : a model of the recipe is not on this machine.
    """
    store, key = Store(asked.store), None
    try:
        said = read_beside(path)
        key = _name_outcome(asked, said)
        page = f"{identify_file(path)}-{key}.html" if asked.pages and asked.model else None
        outcome = _do(path, said, asked, store, progress, page)
    except ClipError as error:
        outcome = describe_failure(path, error.stage, str(error), _identify(path))
    if key is not None and outcome["id"] is not None:
        put_outcome(store, outcome["id"], key, outcome)
    return outcome


def run_batch(
    places: Iterable[str | Path],
    asked: Asked,
    *,
    workers: int | None = None,
    retry_failed: bool = False,
    limit: float | None = None,
    on_told: Callable[[Told], None] = lambda told: None,
    runner: Runner = run_isolated,
) -> Record:
    """Put the clips of folders through, each content once, side by side.

    Parameters
    ----------
    places : files, and folders with clips somewhere in them (`pipeline.folder.find_media`).
    workers : processes; by default `choose_workers`.
    retry_failed : clips that failed before are tried again.
    limit : seconds a clip may take; by default `LIMIT_BASE` and `LIMIT_SHARE` times what it lasts.
    on_told : called here whenever something happened.

    Returns
    -------
    ``clips``, a record each in the order of the files: ``path``, ``id``, ``status`` (done, reused,
    failed), ``stage`` and ``reason`` of a failure, ``seconds``, ``same_as`` (the file with the same
    bytes that was processed) and the rest of `put_through`'s; ``passed_over``, how many files are
    no media; ``recipe``, ``model`` and ``seconds``.

    Raises
    ------
    FileNotFoundError : a place does not exist.
    ValueError : there are no clips; recipe or model cannot be used.
    OSError, WeightsMissing : nothing can be done as things are, for example with a full disk.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"there must be at least one worker, got {workers}")
    if limit is not None and limit <= 0:
        raise ValueError(f"the time limit must be above 0 s, got {limit:g}")
    leave_cores_to_stages()
    started, places = time.perf_counter(), check_places(places)
    made = run.open_recipe(asked.recipe)
    if asked.model is not None:
        run.check_recipe(Path(asked.model), made)
    store = Store(asked.store)
    index = FileIndex(store.folder / FILES)
    own = store.folder if isinstance(store.folder, Path) else None
    if own is not None:
        sweep_folder(own)
    paths, others = find_media(places, index, without=own)
    if not paths:
        raise ValueError(
            f"{', '.join(map(str, places))}: expected video or sound files, found none "
            f"({others} other files)"
        )
    index.save()
    batch = _Batch(asked, store, index, paths, retry_failed, on_told)
    try:
        with share_scratch():  # also where all is finished: it removes what killed batches left
            batch.reuse()
            if left := len(batch.left):
                batch.pace.begin()
                runner(
                    partial(put_through, asked=asked),
                    batch.draw(),
                    min(workers or choose_workers(), left),
                    batch.take,
                    batch.hear,
                    lambda path: (
                        limit or LIMIT_BASE + LIMIT_SHARE * (index.duration(Path(path)) or 0)
                    ),
                )
    finally:
        index.save()
    return {
        "recipe": made.name,
        "model": asked.model and Path(asked.model).name,
        "seconds": time.perf_counter() - started,
        "passed_over": others,
        "clips": [batch.records[path] for path in paths],
    }


def choose_workers() -> int:
    """Clips side by side: one a core, as far as the memory goes that is free."""
    cores = len(os.sched_getaffinity(0))
    return max(1, int(min(cores, available_memory() // WORKER_MEMORY)))


@dataclass
class _Batch:
    """The clips of one batch, and what became of them.

    Attributes
    ----------
    left : clips without a record.
    claimed : {what is asked: the clip that answers it}, and `twins`, others with the same bytes.
    """

    asked: Asked
    store: Store
    index: FileIndex
    paths: Sequence[Path]
    retry_failed: bool
    on_told: Callable[[Told], None]
    records: dict[Path, Record] = field(default_factory=dict)
    failed: int = 0
    left: dict[Path, None] = field(default_factory=dict)
    claimed: dict[tuple[str, str], Path] = field(default_factory=dict)
    twins: dict[Path, list[Path]] = field(default_factory=dict)
    running: dict[str, dict[str, float | None]] = field(default_factory=dict)
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        self.left = dict.fromkeys(self.paths)
        self.pace = Pace({path: self.index.duration(path) for path in self.paths})

    def reuse(self) -> None:
        """What is known to be finished, before anything is begun."""
        for path in self.paths:
            if self.index.identify(path, read=False) is not None:
                self._settle(path)

    def draw(self) -> Iterator[str]:
        """The clips that must be worked on, the longest first: so that none is alone at the end."""
        for path in sorted(self.left, key=lambda path: -(self.index.duration(path) or 0.0)):
            if not self._settle(path):
                yield str(path)

    def hear(self, task: str, stage: str, share: float | None) -> None:
        """News of a clip at work."""
        stages = self.running.setdefault(task, {})
        stages[stage] = share
        if stage == "visual" and share is not None:
            self.pace.tell(Path(task), share)
        self._tell()

    def take(self, done: Done) -> None:
        """A clip is finished, or its worker is."""
        path = Path(done.task)
        stages = self.running.pop(done.task, {})
        if isinstance(done.error, OSError | ImportError):
            raise done.error  # a full disk, a missing model: it would be the same for the others
        outcome = done.result
        if outcome is None:
            noted = getattr(done.error, "__notes__", None)
            busy = noted or [name for name, share in stages.items() if share != 1.0]
            stage = ", ".join(busy) or "start"
            outcome = describe_failure(path, stage, done.failed, _identify(path))
            if outcome["id"] is not None:
                put_outcome(
                    self.store,
                    outcome["id"],
                    _name_outcome(self.asked, read_beside(path)),
                    outcome,
                )
        self._finish(path, outcome, done.seconds)

    def _settle(self, path: Path) -> bool:
        """Whether a clip needs no work: it is finished, failed before, cannot be read, or another
        with the same bytes is at work."""
        started = time.perf_counter()
        try:
            clip_id, said = self.index.identify(path), read_beside(path)
        except ClipError as error:
            self._finish(path, describe_failure(path, error.stage, str(error)), 0.0)
            return True
        assert clip_id is not None
        key = _name_outcome(self.asked, said)
        first = self.claimed.setdefault((clip_id, key), path)
        if first != path:
            if first in self.records:
                self._copy(first, path)
            else:
                self.twins.setdefault(first, []).append(path)
                del self.left[path]
            return True
        outcome = get_outcome(self.store, clip_id, key)
        if outcome is not None and outcome["status"] == "done":
            rows = _name_rows(self.asked, said)
            if not self.store.has(clip_id, "sequence", rows):  # somebody has removed them
                outcome = None
            elif self.asked.pages and self.asked.model:
                page = Path(self.asked.pages) / outcome.get("page", ".")
                outcome = outcome if page.is_file() else None
        if outcome is None or (outcome["status"] == "failed" and self.retry_failed):
            return False
        status = "reused" if outcome["status"] == "done" else "failed"
        outcome = {"id": clip_id, **outcome, "status": status}
        self._finish(path, outcome, time.perf_counter() - started)
        return True

    def _finish(self, path: Path, outcome: Record, seconds: float) -> None:
        self._record(path, {**outcome, "seconds": seconds, "same_as": None})
        for twin in self.twins.pop(path, []):
            self._copy(path, twin)

    def _copy(self, first: Path, twin: Path) -> None:
        record = self.records[first]
        status = "failed" if record["status"] == "failed" else "reused"
        changes = {"path": str(twin), "status": status, "seconds": 0.0, "same_as": str(first)}
        self._record(twin, {**record, **changes})

    def _record(self, path: Path, outcome: Record) -> None:
        self.left.pop(path, None)
        self.pace.end(path, worked=outcome["status"] == "done")
        self.failed += outcome["status"] == "failed"
        self.records[path] = {"path": str(path), **outcome}
        self._tell(self.records[path])

    def _tell(self, record: Record | None = None) -> None:
        running = {
            path: {stage: share for stage, share in stages.items() if share != 1.0}
            for path, stages in self.running.items()
        }
        total, left = len(self.paths), self.pace.estimate()
        self.on_told(Told(len(self.records), self.failed, total, left, running, record))


def _do(
    path: str,
    said: Transcript | None,
    asked: Asked,
    store: Store,
    progress: Progress,
    page: str | None,
) -> Record:
    if asked.model is None:
        processed = process_clip(path, run.open_recipe(asked.recipe), said, store, progress)
        return describe_success(
            processed.clip.id, processed.clip.duration, processed.quality.to_json()
        )
    record = run.predict_clip(
        path,
        recipe=asked.recipe,
        model=asked.model,
        transcript=said,
        store=asked.store,
        progress=progress,
        report=None if page is None else Path(asked.pages or "") / page,
    )
    utterances = [
        {name: utterance[name] for name in ("start", "end", "text", "prediction")}
        for utterance in record["utterances"]
    ]
    found = describe_success(record["clip"]["id"], record["clip"]["duration"], record["quality"])
    shown = {} if page is None else {"page": page}
    return {**found, "utterances": utterances, "overall": record["overall"], **shown}


def _name_rows(asked: Asked, said: Transcript | None) -> str:
    made = run.open_recipe(asked.recipe)
    return make_key(made, said, *made.settings)


def _name_outcome(asked: Asked, said: Transcript | None) -> str:
    rows = _name_rows(asked, said)
    return rows if asked.model is None else f"{rows}-{run.identify_model(Path(asked.model))}"


def _identify(path: str | Path) -> str | None:
    try:
        return identify_file(path)
    except ClipError:
        return None
