"""Tables of an evaluation: nothing invented, nothing left out, both conventions named."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline.records import to_json
from rmfn.checkpoint import Checkpoint
from rmfn.evaluate import evaluate_dataset, summarise
from rmfn.metrics import Scores
from rmfn.predict import Predictor
from rmfn.report import describe_report, list_warnings, tabulate_report, write_markdown
from rmfn.tasks import find_constants, score_constants
from tests.trained import HAPPY, LENGTH, MOOD, SENTIMENT, make_dataset, make_untrained


@pytest.fixture(scope="module")
def report():
    dataset = make_dataset(40)
    predictor = Predictor(Checkpoint(*make_untrained()))
    other = Predictor(Checkpoint(*make_untrained(seed=3)))
    return evaluate_dataset(predictor, dataset, against=other, ablate=True, draws=10)


def test_every_number_stands_where_its_heading_says(report):
    found = report["sentiment"]
    main, differences, calibration = tabulate_report(report, [SENTIMENT])
    headings = {
        "mae": "MAE",
        "corr": "r",
        "a2": "A2 has0",
        "f1": "F1 has0",
        "a2_nonzero": "A2 non0",
        "f1_nonzero": "F1 non0",
        "a7": "A7",
        "a7_unclipped": "A7 raw",
    }
    assert main.headings == ("", *headings.values())
    rows = {row[0].strip(): dict(zip(main.headings[1:], row[1:], strict=True)) for row in main.rows}

    def shown(scores: Scores) -> dict[str, str]:
        cells = {heading: scores[name] for name, heading in headings.items()}
        return {k: "-" if np.isnan(v) else f"{v:.3f}" for k, v in cells.items()}

    assert rows["model"] == shown(found)
    assert rows["constant median"] == shown(found["constants"]["median"])
    assert rows["constant median"]["r"] == "-"
    assert rows["without acoustic"] == shown(found["ablation"]["without acoustic"])
    assert rows["toy (other)"] == shown(found["against"]["metrics"])
    assert rows["95 % interval"]["MAE"] == "{:.2f}…{:.2f}".format(*found["interval"]["mae"])
    assert differences.rows[0][:2] == (
        "MAE",
        f"{found['against']['differences']['mae']['difference']:+.3f}",
    )
    assert calibration.rows[0][1] == f"{found['calibration']['0.8']:.1%}"


def test_several_labels_begin_with_a_summary():
    dataset = make_dataset(60)
    random = np.random.default_rng(0)
    report = {}
    for target, width in ((SENTIMENT, 1), (LENGTH, 1), (HAPPY, 2), (MOOD, 3)):
        labels = dataset.labels[target.name]
        runs = random.dirichlet(np.ones(max(width, 2)), (2, 60))[:, :, :width]
        report[target.name] = {
            **summarise(runs, labels, dataset.videos, target, draws=5),
            "constants": score_constants(find_constants(labels, target), labels, target),
        }
    tables = tabulate_report(report, (SENTIMENT, LENGTH, HAPPY, MOOD))
    rows = {row[0]: row[1:] for row in tables[0].rows}
    mean = (report["sentiment"]["mae"] + report["length"]["mae"]) / 2
    assert rows["mean of 2 numbers"][0] == f"{mean:.3f}"
    assert rows["length"][2] == f"{report['length']['a7']:.3f}"  # rounded, on its scale
    accuracy = (report["happy"]["accuracy"] + report["mood"]["accuracy"]) / 2
    assert rows["mean of 2 classifications"][2] == f"{accuracy:.3f}"
    assert [table.title.split(":")[0] for table in tables[1:]] == list(report)
    lines = describe_report(report, (SENTIMENT, LENGTH, HAPPY, MOOD))
    assert any("has0" in line and "non0" in line for line in lines)
    assert any('"at least the threshold in the title or not"' in line for line in lines)
    assert any("macro F1" in line for line in lines)


def test_from_where_on_a_number_counts_as_positive_is_said(report):
    """A2 depends on it: a label may be in the middle of the scale, or said."""
    main, *_ = tabulate_report(report, [SENTIMENT])
    assert main.title == "sentiment: 40 segments, positive from 0 on"
    assert '"at least 0 or not"' in describe_report(report, [SENTIMENT])[0]
    said = replace(SENTIMENT, low=1.0, high=5.0, threshold=3.501)
    found = {"sentiment": {**report["sentiment"], "a5": 0.5, "a5_unclipped": 0.5}}
    del found["sentiment"]["ablation"], found["sentiment"]["against"]
    found["sentiment"] |= {"interval": {}, "constants": {}}
    assert (
        tabulate_report(found, [said])[0].title == "sentiment: 40 segments, positive from 3.501 on"
    )
    assert '"at least 3.501 or not"' in describe_report(found, [said])[0]


def test_what_spoils_the_numbers_is_said(report):
    assert list_warnings(report) == []
    found = {**report["sentiment"], "seen": {"segments": 7, "videos": 2}, "videos": 4, "groups": 4}
    found["against"] = {**found["against"], "seen": 3}
    said = " ".join(list_warnings({"sentiment": found}))
    assert "of 4 videos: intervals" in said
    few = " ".join(list_warnings({"sentiment": {**found, "groups": 2}}))
    assert "of 4 videos, of which those that share a speaker are taken together: 2 remain" in few
    assert "7 of the scored segments, of 2 videos, were trained on" in said
    assert "toy was trained on 3 of the scored videos" in said


def test_of_one_video_no_interval_is_known():
    dataset = make_dataset(40, videos=1)
    predictor = Predictor(Checkpoint(*make_untrained()))
    other = Predictor(Checkpoint(*make_untrained(seed=3)))
    report = evaluate_dataset(predictor, dataset, against=other, draws=10)
    assert "of one video; from one no interval or p-value is known" in list_warnings(report)[0]
    read = json.loads(to_json(report), parse_constant=pytest.fail)
    for each in (report, read):
        main, differences, _ = tabulate_report(each, [SENTIMENT])
        (interval,) = [row for row in main.rows if row[0] == "  95 % interval"]
        assert set(interval[1:]) == {"-"}
        assert {row[2:] for row in differences.rows} == {("-", "-")}


def test_markdown_is_a_table_that_holds_together(report):
    tables = tabulate_report(report, [SENTIMENT])
    text = write_markdown("A title", tables, ["a note"], ["beware | of this"])
    assert text.startswith("# A title\n\n**Warning:** beware | of this.\n")
    assert text.endswith("a note\n")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == sum(len(table.rows) + 2 for table in tables)
    first = [line.count("|") for line in rows[: len(tables[0].rows) + 2]]
    assert len(set(first)) == 1
