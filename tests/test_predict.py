"""Predictions from a checkpoint: means, intervals, missing things, explanations."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from extractors.types import WordFeatures
from pipeline.errors import RecipeMismatch
from pipeline.sequence import AlignedSequence
from rmfn.baselines import build
from rmfn.checkpoint import Checkpoint, Conformal, save_checkpoint
from rmfn.predict import Estimate, Predictor
from rmfn.train import Fitted
from tests.trained import CONFIG, FEATURES, MOOD, SENTIMENT, make_corpus, make_untrained


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(Checkpoint(*make_untrained()))


def without(sequence: AlignedSequence, modality: str) -> AlignedSequence:
    return replace(
        sequence, features={m: rows for m, rows in sequence.features.items() if m != modality}
    )


def test_a_prediction_is_the_mean_over_members_with_its_interval(predictor):
    sequence = make_corpus(1)[0][0]
    each = predictor.checkpoint.ensemble.predict_each([sequence])[:, 0, 0]
    found = predictor(sequence)
    value = float(each.double().mean())
    assert found == {"sentiment": Estimate(value, value - 1.25, value + 1.25)}
    assert predictor.columns["acoustic"] == ("timing.duration",)


def test_members_answer_in_the_units_of_their_labels(predictor):
    """Each member's output is times its labels' deviation, plus their mean."""
    sequence = make_corpus(1)[0][0]
    example = predictor.checkpoint.ensemble.scaler(sequence)
    lengths = torch.tensor([len(example)])
    features = {m: x[None] for m, x in example.features.items()}
    with torch.no_grad():
        raw = [m.model(features, lengths)[0, 0] for m in predictor.checkpoint.ensemble.members]
    expected = (raw[0] * 1.5 + raw[1] * 2.5 + 0.2) / 2
    assert predictor(sequence)["sentiment"].value == pytest.approx(float(expected), abs=1e-6)


def test_predictions_stay_on_the_scale():
    manifest, ensemble = make_untrained(1)
    member = replace(ensemble.members[0], label_mean=torch.tensor([50.0]))
    ensemble = replace(ensemble, members=(member,))
    found = Predictor(Checkpoint(manifest, ensemble))(make_corpus(1)[0][0])
    assert found["sentiment"] == Estimate(3.0, 1.75, 3.0)


def test_no_prediction_depends_on_the_others(predictor):
    sequences = make_corpus(12)[0]
    together = predictor.predict(sequences)
    for sequence, expected in zip(sequences, together, strict=True):
        alone = predictor(sequence)["sentiment"]
        assert alone.value == pytest.approx(expected["sentiment"].value, abs=1e-5)
    assert predictor.predict([]) == []


def test_a_missing_modality_still_gives_a_prediction(predictor):
    sequence = make_corpus(1)[0][0]
    rows = sequence.features["acoustic"]
    unseen = WordFeatures(np.full_like(rows.values, np.nan), rows.coverage * 0, rows.names)
    blank = replace(sequence, features={**sequence.features, "acoustic": unseen})
    absent = predictor(without(sequence, "acoustic"))
    assert np.isfinite(absent["sentiment"].value)
    assert absent == predictor(blank)
    assert absent != predictor(sequence)


def test_further_columns_are_fine_and_a_missing_one_is_named(predictor):
    sequence = make_corpus(1)[0][0]
    rows = sequence.features["acoustic"]
    more = WordFeatures(
        np.hstack([rows.values + 9, rows.values]), rows.coverage, ("mfcc.0", *rows.names)
    )
    assert predictor(
        replace(sequence, features={**sequence.features, "acoustic": more})
    ) == predictor(sequence)
    other = WordFeatures(rows.values, rows.coverage, ("mfcc.0",))
    with pytest.raises(RecipeMismatch, match=r"acoustic column 'timing\.duration'.*have mfcc\.0"):
        predictor(replace(sequence, features={**sequence.features, "acoustic": other}))


def test_attention_is_split_by_modality(predictor):
    sequence = max(make_corpus(12)[0], key=lambda sequence: len(sequence.words))
    found = predictor.explain(sequence)
    words = len(sequence.words)
    assert found.weights.shape == (2, words, 3, 10)
    assert found.weights.sum(-1) == pytest.approx(1, abs=1e-5)
    assert found.share["language"].shape == (words, 3)
    assert found.share["language"] + found.share["acoustic"] == pytest.approx(1, abs=1e-5)
    part = found.weights[:, :, :, found.parts["acoustic"]].sum(-1).mean(0)
    assert found.share["acoustic"] == pytest.approx(part, abs=1e-6)


def test_it_loads_from_a_folder(predictor, tmp_path):
    save_checkpoint(*make_untrained(), tmp_path / "model")
    sequence = make_corpus(1)[0][0]
    assert Predictor.load(tmp_path / "model")(sequence) == predictor(sequence)
    assert Predictor.load(tmp_path / "model").manifest.config == CONFIG


def test_the_recipe_must_be_that_of_training(predictor):
    offered = copy.deepcopy(FEATURES)
    offered["language"].insert(0, {**FEATURES["language"][0], "backend": "further"})
    offered["language"][1]["versions"] = {"torch": "99"}
    predictor.require_recipe(offered)
    offered["language"][1]["settings"] = {"layers": 2}
    with pytest.raises(RecipeMismatch, match="backend 'toy' settings layers = 1, the recipe has 2"):
        predictor.require_recipe(offered)
    offered["language"][1] = {**FEATURES["language"][0], "weights": {"toy": "xyz"}}
    with pytest.raises(RecipeMismatch, match="weights toy = 'abc', the recipe has 'xyz'"):
        predictor.require_recipe(offered)
    del offered["timing"]
    offered["language"][1] = FEATURES["language"][0]
    with pytest.raises(RecipeMismatch, match="with 'timing' for timing, the recipe has nothing"):
        predictor.require_recipe(offered)


def test_infinite_widths_are_the_whole_scale():
    manifest, ensemble = make_untrained(1)
    manifest = replace(manifest, conformal=Conformal(0.8, (float("inf"),), (1.0,), 2))
    found = Predictor(Checkpoint(manifest, ensemble))(make_corpus(1)[0][0])["sentiment"]
    assert (found.low, found.high) == (-3, 3)


def test_classes_get_the_mean_of_their_probabilities():
    manifest, ensemble = make_untrained()
    targets = (SENTIMENT, MOOD)
    members = []
    for n in range(2):
        torch.manual_seed(n)
        model = build("rmfn", **{**CONFIG, "outputs": 4}).eval()
        members.append(Fitted(model, targets, torch.zeros(2), torch.ones(2)))
    conformal = Conformal(0.8, (1.0, None), (0.8, None), 10)
    manifest = replace(
        manifest, labels=targets, config={**CONFIG, "outputs": 4}, conformal=conformal
    )
    predictor = Predictor(Checkpoint(manifest, replace(ensemble, members=tuple(members))))
    sequence = make_corpus(1)[0][0]
    each = predictor.checkpoint.ensemble.predict_each([sequence])[:, 0].double()
    found = predictor(sequence)
    assert found["sentiment"].value == pytest.approx(float(each[:, 0].mean()))
    assert list(found["mood"].probabilities) == list(MOOD.classes)
    assert list(found["mood"].probabilities.values()) == pytest.approx(each[:, 1:].mean(0).tolist())
    assert found["mood"].value == MOOD.classes[int(each[:, 1:].mean(0).argmax())]


def test_a_model_without_highlight_explains_nothing():
    manifest, ensemble = make_untrained(1)
    config = {k: v for k, v in CONFIG.items() if k in ("inputs", "hidden", "outputs")}
    member = replace(ensemble.members[0], model=build("ef-lstm", **config).eval())
    predictor = Predictor(
        Checkpoint(
            replace(manifest, model="ef-lstm", config=config), replace(ensemble, members=(member,))
        )
    )
    with pytest.raises(ValueError, match="a model of the kind 'ef-lstm' has no HIGHLIGHT"):
        predictor.explain(make_corpus(1)[0][0])
