"""The short form of `python -m benchmarks.fuzz`: broken media ends in a result or a typed error."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import fuzz
from benchmarks.broken_media import find_parts, make_goods
from pipeline.clip import open_clip

CASES = 500


@pytest.fixture(scope="module")
def goods(tmp_path_factory):
    return make_goods(tmp_path_factory.mktemp("goods"))


def test_broken_media_ends_in_a_result_or_a_typed_error():
    failures: list[str] = []
    tallies = fuzz.run_cases(
        range(CASES), seed=1, workers=2, timeout=300,
        on_failure=lambda case, *what: failures.append(f"{what}: {case.command}"),
    )  # fmt: skip
    assert not failures, "\n".join(failures)
    assert sum(tally.cases for tally in tallies.values()) == CASES
    assert all(tally.cases >= CASES // len(fuzz.KINDS) for tally in tallies.values())
    outcomes = sum((tally.outcomes for tally in tallies.values()), fuzz.Tally().outcomes)
    # It would prove nothing if all were refused, or none.
    assert outcomes["MediaError"] > CASES / 10
    assert outcomes["with warnings"] > CASES / 10
    assert "| **all** | 500 |" in fuzz.format_table(tallies)


def test_a_case_can_be_made_again(tmp_path):
    found = []
    for home in (tmp_path / "a", tmp_path / "b"):
        home.mkdir()
        make_goods(home)
        fuzz._read_goods.cache_clear()
        made = [fuzz.make_case(fuzz.Case(3, number, str(home))) for number in range(8)]
        found.append([(path.name, path.read_bytes()) for path in made])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("suffix", "kinds"),
    [
        ("mp4", {"ftyp", "moov", "mvhd", "trak", "stts", "stco", "stsz", "avc1", "esds", "mdat"}),
        ("frag.mp4", {"moof", "traf", "trun"}),
        ("mkv", {"1a45dfa3", "18538067", "1549a966", "1654ae6b", "ae", "1f43b675", "a3"}),
        ("avi", {"RIFF", "LIST", "avih", "strh", "strf", "idx1", "00dc", "01wb"}),
        ("wav", {"RIFF", "fmt ", "data"}),
    ],
)
def test_every_kind_of_box_is_found(goods, suffix, kinds):
    parts = find_parts(goods[suffix], suffix)
    assert kinds <= {kind for kind, *_ in parts}
    assert all(0 <= start < body <= end <= len(goods[suffix]) for _, start, body, end in parts)


def test_good_clips_are_good(goods, tmp_path):
    for suffix, data in goods.items():
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(data)
        assert open_clip(path).duration == pytest.approx(1.2, abs=0.3), suffix


FAULTS = ("none", "error", "memory", "file", "descriptor", "crash")


def misbehave(case: fuzz.Case) -> dict[str, Any]:
    """`fuzz.try_case`, the pipeline having a fault of a kind that the fuzzer is there to find."""
    good = fuzz.process_clip

    def process_clip(path, recipe):
        match FAULTS[case.number // 50]:
            case "error":
                raise KeyError("a fault of the program")
            case "memory":
                np.ones(60_000_000)
            case "file":
                (Path(tempfile.gettempdir()) / "left").touch()
            case "descriptor":
                os.open(os.devnull, os.O_RDONLY)
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
        return good(path, recipe)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fuzz, "process_clip", process_clip)
        return fuzz.try_case(case)


def test_the_fuzzer_finds_what_it_is_there_to_find():
    found: dict[str, str] = {}
    fuzz.run_cases(
        range(0, 50 * len(FAULTS), 50), timeout=300, memory=700, work=misbehave,
        on_failure=lambda case, what, _: found.update({FAULTS[case.number // 50]: what}),
    )  # fmt: skip
    assert found == {
        "error": "defect: KeyError",
        "memory": "more than 700 MB",
        "file": "files left",
        "descriptor": "left open",
        "crash": "died or hung",
    }
