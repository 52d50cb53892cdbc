"""The plans that results are documented with can be read, and ask for what the documents say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rmfn.checkpoint import load_checkpoint
from rmfn.plans import load_plan
from rmfn.predict import SHIPPED
from rmfn.train_timed import PLAN
from tests.conftest import ROOT

PLANS = ROOT / "benchmarks" / "plans"


@pytest.mark.parametrize("file", sorted(PLANS.glob("*.json")), ids=lambda file: file.name)
def test_every_plan_is_read_and_named(file):
    assert load_plan(file).model == "rmfn"
    assert f"benchmarks/plans/{file.name}" in (ROOT / "benchmarks" / "README.md").read_text("utf-8")


def test_the_corpus_of_both_is_scored_alike():
    (compared,) = load_plan(PLANS / "mmmo.json").targets
    assert load_checkpoint(SHIPPED.parent / "mmmo-av").manifest.labels == (compared,)


def test_without_the_adaptation_is_the_shipped_plan_but_for_that():
    plain = load_plan(PLANS / "mosi-no-adaptation.json")
    assert plain.settings.epochs == 16  # as before there was an adaptation
    settings = replace(plain.settings, epochs=PLAN.settings.epochs)
    assert replace(plain, adapt=PLAN.adapt, settings=settings) == PLAN
