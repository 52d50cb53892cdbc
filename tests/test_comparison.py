"""What a comparison's tables say, against numbers written by hand."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, replace

import pytest

from pipeline.records import to_json
from rmfn.baselines import MODELS
from rmfn.comparison import GUESS, Comparison, Row, Scored, adjust, load_comparison, make_row
from rmfn.comparison_plot import draw
from rmfn.comparison_tables import tabulate, write_csv
from rmfn.dataset import Target
from rmfn.pages.comparison import draw_differences, draw_errors
from rmfn.systems import PUBLISHED, QUESTIONS, TITLES
from tests.trained import SENTIMENT, make_dataset

MOOD = Target("mood")
AGAINST = {"difference": -0.0123, "interval": (-0.1, 0.05), "p": 0.02, "p_holm": 0.04}
SEEDS = {
    n: {"mood": {"mae": mae, "corr": 0.5, "a2": 0.75, "f1": 0.75, "a7": 0.3}}
    for n, mae in enumerate((0.9, 1.1))
}
MARN = Row("marn", "MARN", SEEDS, {"mood": (0.8, 1.2)}, {"mood": AGAINST}, 12345.0, 61.23, 0.456)
RMFN = Row("rmfn", "RMFN", {0: SEEDS[0]}, {"mood": (0.7, 1.3)}, {}, 999.0, 5.0, 0.01)
BC_LSTM = Row("bc-lstm", "BC-LSTM", missing="every video is one segment")
CONSTANT = {"mae": 1.5, "corr": None, "a2": 0.5, "f1": 0.3, "a7": 0.2}
FOUND = Comparison(
    "toy",
    True,
    "a protocol",
    (MOOD,),
    "RMFN",
    (MARN, RMFN, BC_LSTM),
    {"mood": {"median": CONSTANT, GUESS: {**CONSTANT, "corr": 0.001}}},
)


def test_the_table_has_all_beside():
    lines = tabulate(FOUND).splitlines()
    assert lines[0] == "toy: a protocol."
    assert lines[2] == "A2 and F1 count at least 0 as positive."
    assert lines[4] == (
        "| mood | MAE | Corr | A2 | F1 | A7 | MAE - RMFN's | p | parameters | training [s] | "
        "a segment [ms] | paper: MAE / Corr / A2 / F1 / A7 |"
    )
    assert lines[6] == (
        "| MARN | 1.000 ± .141 | .500 ± .000 | .750 ± .000 | .750 ± .000 | .300 ± .000 | "
        "-.012 (-.100 to +.050) | .04 | 12,345 | 61.2 | 0.46 | .968 / .625 / .771 / .770 / .347 |"
    )
    assert lines[7] == (
        "| RMFN | .900 | .500 | .750 | .750 | .300 |  |  | 999 | 5 | 0.01 | "
        ".922 / .681 / .784 / .780 / .383 |"
    )
    assert lines[8] == "| BC-LSTM | - | - | - | - | - |  |  | - | - | - |  |"
    assert lines[9] == "| constant median | 1.500 | - | .500 | .300 | .200 |  |  |  |  |  |  |"
    assert lines[10].startswith("| random guess | 1.500 | .001 | .500 |")
    assert lines[10].endswith("| 1.864 / .057 / .502 / .501 / .175 |")
    assert "* BC-LSTM: every video is one segment" in lines
    assert "seeds (1 to 2)" in "\n".join(lines)
    assert {line.count("|") for line in lines if line.startswith("|")} == {13}


def test_other_data_have_no_papers_values():
    text = tabulate(replace(FOUND, papers=False))
    assert "paper" not in text
    assert ".968" not in text
    assert "paper" not in write_csv(replace(FOUND, papers=False))


def test_without_the_reference_there_are_no_differences():
    text = tabulate(replace(FOUND, reference="", rows=(replace(MARN, against={}),)))
    assert "RMFN" not in text
    assert "| parameters |" in text


def test_classes_have_their_own_metrics():
    target = Target("tone", "classes", classes=("a", "b"))
    seeds = {0: {"tone": {"accuracy": 0.625, "f1": 0.5, "f1_macro": 0.4, "n": 9}}}
    row = Row("rmfn", "RMFN", seeds, {"tone": (0.5, 0.7)}, {}, 1.0, 1.0, 1.0)
    found = replace(FOUND, targets=(target,), rows=(row,), constants={}, papers=False)
    assert "| tone | accuracy | F1 | F1 macro |" in tabulate(found)
    assert "| RMFN | .625 | .500 | .400 |" in tabulate(found)
    assert draw(found).startswith(b"\x89PNG")


def test_csv_says_the_same():
    marn, rmfn, bc_lstm, median, guess = csv.DictReader(io.StringIO(write_csv(FOUND)))
    assert float(marn["mae"]) == 1.0
    assert float(marn["mae_sd"]) == pytest.approx(math.sqrt(0.02))
    assert (marn["error_low"], marn["error_high"]) == ("0.8", "1.2")
    assert (marn["difference"], marn["low"], marn["high"]) == ("-0.0123", "-0.1", "0.05")
    assert (marn["p"], marn["p_holm"], marn["seeds"]) == ("0.02", "0.04", "2")
    assert marn["paper_mae"] == "0.968"
    assert rmfn["mae_sd"] == rmfn["difference"] == ""
    assert (bc_lstm["mae"], bc_lstm["missing"]) == ("", "every video is one segment")
    assert (median["title"], median["mae"], median["corr"]) == ("constant median", "1.5", "")
    assert guess["paper_mae"] == "1.864"


def test_holms_correction():
    # Holm 1979: times what is left, and never less than one before
    assert adjust([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjust([0.9, 0.6]) == [1.0, 1.0]
    found = adjust([math.nan, 0.01, 0.02])
    assert math.isnan(found[0])
    assert found[1:] == pytest.approx([0.02, 0.02])
    assert adjust([]) == []


def test_published_values_are_of_systems_that_there_are():
    assert set(PUBLISHED) - {"majority"} <= set(MODELS)
    assert set(QUESTIONS) <= set(PUBLISHED)
    assert set(TITLES) <= set(MODELS)
    for values in PUBLISHED.values():
        assert all(0 < value < 2 for value in values.values())


def test_of_one_video_no_interval_is_known(tmp_path):
    """JSON has null for it, which is read back and drawn like the rest."""
    nan = float("nan")
    against = {"mood": {**AGAINST, "interval": [nan, nan], "p": nan, "p_holm": nan}}
    row = replace(MARN, intervals={"mood": (nan, nan)}, against=against)
    (tmp_path / "table.json").write_text(to_json(asdict(replace(FOUND, rows=(row, RMFN)))))
    again = load_comparison(tmp_path / "table.json")
    assert again.rows[0].intervals == {"mood": (None, None)}
    assert "| -.012 | - |" in tabulate(again)
    assert draw(again).startswith(b"\x89PNG")
    errors = draw_errors(again, MOOD, list(again.rows))["data"][1]
    assert (errors["error_x"]["array"], errors["customdata"]) == (
        [None],
        ["not known from one video"],
    )
    assert draw_differences(MOOD, [again.rows[0]])["data"][0]["error_x"]["array"] == [None]


def test_a_row_s_interval_redraws_whole_speakers():
    plain = make_dataset(60)
    speakers = tuple(f"p{int(video[1:]) // 3}" for video in plain.videos)
    labels = plain.labels["sentiment"][:, None]
    costs = {"parameters": 1, "train_seconds": 1, "predict_ms": 1}
    said = {"predictions": labels[::-1].tolist(), **costs}
    known, same, videos = (
        make_row("rmfn", {0: said}, Scored(each, (SENTIMENT,), labels), {}, None).intervals
        for each in (replace(plain, speakers=speakers), replace(plain, videos=speakers), plain)
    )
    assert known == same != videos


def test_a_picture_of_all_systems_with_what_is_missing():
    assert draw(FOUND).startswith(b"\x89PNG")
    assert draw(replace(FOUND, rows=(BC_LSTM,))).startswith(b"\x89PNG")
