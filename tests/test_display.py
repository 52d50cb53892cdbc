"""What a person sees of a prediction: numbers on their scale, probabilities, classes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flows import display
from flows.display import describe_spread, describe_value, show_prediction
from rmfn.running import Epoch
from rmfn.unseen import Progress

QUALITY = {
    "words": 3,
    "interpolated": 0,
    "aligner_score": None,
    "face_share": None,
    "voiced_share": None,
    "speech_share": 0.9,
    "warnings": ["[beware]"],
}
NUMBER = {"value": 1.25, "interval": [-0.5, 3.0]}
BINARY = {"value": 0.73, "probabilities": {"0": 0.27, "1": 0.73}}
CLASSES = {"value": "so [so]", "probabilities": {"so [so]": 0.6, "good": 0.4}}


def test_each_kind_in_a_few_characters():
    assert [describe_value(found) for found in (NUMBER, BINARY, CLASSES)] == [
        "+1.25",
        "73%",
        "so [so]",
    ]
    assert describe_spread(NUMBER) == "-0.50 to +3.00"
    assert describe_spread(BINARY) == "0 27%, 1 73%"


def test_every_label_has_its_table(capsys):
    predicted = {"sentiment": NUMBER, "happy": BINARY, "mood": CLASSES}
    record = {
        "clip": {"duration": 2.0},
        "quality": QUALITY,
        "overall": predicted,
        "utterances": [{"start": 0.0, "end": 2.0, "text": "a [b] c", "prediction": predicted}],
    }
    show_prediction(record, {"sentiment": (-3.0, 3.0)})
    shown = capsys.readouterr().out
    assert "sentiment, from -3 to +3" in shown
    assert shown.count("a [b] c") == 3  # brackets are no markup
    assert shown.count("[-0.5, +3.0]") == 2
    assert shown.count("0 27%, 1 73%") == 2
    assert shown.count("so [so] 60%, good 40%") == 2
    assert "warning: [beware]" in shown


def test_a_bar_of_trainings_ends_with_all_of_them(monkeypatch):
    told = io.StringIO()
    monkeypatch.setattr(display, "screen", Console(file=told, width=100))
    with display.show_trainings() as on_progress:
        for run in range(3):
            on_progress(Progress(run, 3, "all", Epoch(1, 0.1, 1.0, 1.0)))
    (line,) = [line for line in told.getvalue().splitlines() if "done" in line]
    assert "3/3 trainings" in line


@pytest.mark.parametrize("found", [NUMBER, BINARY, CLASSES])
def test_the_flow_tells_each_kind(found):
    from flows.predict import describe_overall, tabulate_utterances

    result = {
        "overall": {"label": found},
        "utterances": [{"start": 0.0, "end": 1.0, "text": "a", "prediction": {"label": found}}],
    }
    (row,) = tabulate_utterances(result)
    assert row["label"] == describe_value(found)
    spread = "interval" if "interval" in found else "probabilities"
    assert row[f"label {spread}"] == describe_spread(found)
    assert describe_overall(result) == f"label {describe_value(found)} ({describe_spread(found)})"
