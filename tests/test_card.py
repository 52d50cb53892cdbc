"""The measured numbers of a model as Markdown, whatever is not known of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline.records import to_json
from rmfn.card import describe
from rmfn.checkpoint import Conformal, Manifest
from rmfn.evaluate import summarise
from rmfn.pages.tables import describe_scores
from tests.trained import SENTIMENT, make_untrained


def make_manifest(videos: list[str]) -> Manifest:
    """A model that was measured on segments of these videos."""
    random = np.random.default_rng(0)
    labels = random.uniform(-3, 3, len(videos))
    runs = labels[None, :, None] + random.normal(0, 1, (2, len(videos), 1))
    found = {
        "how": "by hand",
        **summarise(runs, labels, videos, SENTIMENT, draws=20),
        "constants": {},
    }
    return replace(make_untrained()[0], metrics={"valid": {"sentiment": found}})


@pytest.mark.parametrize("kept", [False, True])
def test_of_one_video_no_interval_is_known(kept):
    for videos, known in ((["v"] * 20, False), (["v", "w"] * 10, True)):
        manifest = make_manifest(videos)
        if kept:  # in a file, which has null for it
            manifest = replace(manifest, metrics=json.loads(to_json(manifest.metrics)))
        line = next(line for line in describe(manifest).splitlines() if "interval (" in line)
        assert ("| - | - | - | - |" in line) is not known
        assert "nan" not in line
        if kept:
            rows = describe_scores({"metrics": manifest.metrics}, [SENTIMENT])[0]["rows"]
            assert all((" to " in interval) is known for *_, interval in rows)


@pytest.mark.parametrize(
    ("measured", "plan", "said"),
    [
        (0.79, {"folds": 5}, "measured on held-out videos 79.0% (100 predictions)"),
        (0.79, {"folds": 0}, "measured on the validation videos on which training stopped 79.0% ("),
        (None, {"folds": 5}, "nominal coverage 80%, not measured: too few videos (100 "),
    ],
)
def test_coverage_is_told_with_what_it_was_measured_on(measured, plan, said):
    manifest, _ = make_untrained()
    conformal = Conformal(0.8, (1.25,), (measured,), 100)
    training = {"plan": plan}
    manifest = replace(manifest, metrics={}, conformal=conformal, training=training)
    assert said in describe(manifest)
