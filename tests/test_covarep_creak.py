"""Creak: the measures on planted creak, and a network file as MATLAB writes it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.io import savemat

from extractors.acoustic_covarep import NAMES, Covarep, creak_inputs, load_network
from extractors.acoustic_covarep.creak import MEASURES, with_differences
from extractors.acoustic_covarep.creak_network import find_network
from extractors.acoustic_covarep.track import Recording
from extractors.types import Audio
from extractors.weights import WeightsDamaged, WeightsMissing
from pipeline.recipe import build_recipe
from tests.covarep_signals import RATE, glottal_voice, vocal_tract

CREAK = NAMES.index("covarep.creak")


def creaky_voice(f0: float = 40.0, seconds: float = 1.0):
    """Glottal pulses of a usual length, each long before the next."""
    period = round(RATE / f0)
    t = np.arange(period) / 80
    derivative = np.where(t < 1, 2 * t - 3 * t**2, 0.0)
    count = round(seconds * RATE) // period
    noise = np.random.default_rng(0).normal(0, 1e-4, count * period)
    return 0.4 * vocal_tract(np.tile(derivative, count)) + noise


MODAL_CREAK_MODAL = np.r_[glottal_voice(120, 1.0), creaky_voice(), glottal_voice(120, 1.0)]


def cells(*values):
    found = np.empty((len(values), 1), object)
    found[:, 0] = values
    return found


def save_network(path, measure="peak_prominence", threshold=0.4, **changes):
    """A network that says creak where one measure exceeds a threshold."""
    rng = np.random.default_rng(0)
    low, high = -np.ones(36), 3 * np.ones(36)
    at = MEASURES.index(measure)
    low[at], high[at] = 2 * threshold - 1, 1.0  # the threshold becomes 0
    hidden = np.zeros((32, 36))
    hidden[:, at] = 5
    parts = {
        "hidden": hidden,
        "hidden_bias": np.zeros((32, 1)),
        "output": np.full((1, 32), 0.5),
        "output_bias": np.zeros((1, 1)),
        "low": low,
        "high": high,
        **changes,
    }
    net = {
        "name": "creak",
        "IW": cells(parts["hidden"], np.zeros((0, 0))),
        "LW": np.array([[np.zeros((0, 0)), np.zeros((0, 0))], [parts["output"], 0]], object),
        "b": cells(parts["hidden_bias"], parts["output_bias"]),
        "inputs": {"range": rng.normal(size=(36, 2))},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"net": net, "Minis": parts["low"], "Maxis": parts["high"]})
    return path


@pytest.fixture
def checkout(tmp_path):
    save_network(tmp_path / "glottalsource/creaky_voice_detection/private/system_net_creak.mat")
    savemat(tmp_path / "glottalsource/other.mat", {"x": np.ones(3)})
    return tmp_path


def test_the_networks_formula_by_hand(tmp_path):
    rng = np.random.default_rng(1)
    parts = {
        "hidden": rng.normal(size=(32, 36)),
        "hidden_bias": rng.normal(size=(32, 1)),
        "output": rng.normal(size=(1, 32)),
        "output_bias": np.array([[0.3]]),
        "low": rng.normal(size=36),
        "high": rng.normal(size=36) + 5,
    }
    network = load_network(save_network(tmp_path / "creak.mat", **parts))
    inputs = rng.normal(size=(3, 36))
    expected = []
    for row in inputs:
        total = 0.3
        for unit in range(32):
            z = parts["hidden_bias"][unit, 0]
            for k in range(36):
                low, high = parts["low"][k], parts["high"][k]
                z += parts["hidden"][unit, k] * (-1 + 2 * (row[k] - low) / (high - low))
            total += parts["output"][0, unit] * math.tanh(z)
        expected.append(1 / (1 + math.exp(-total)))
    np.testing.assert_allclose(network(inputs), expected, rtol=1e-12)
    assert ((network(1e6 * inputs) >= 0) & (network(1e6 * inputs) <= 1)).all()


def test_planted_creak_is_found_and_nothing_else_moves(checkout):
    audio = Audio(MODAL_CREAK_MODAL.astype(np.float32), RATE)
    plain, found = Covarep()(audio), Covarep(creak_model=str(checkout))(audio)
    creak = found.values[:, CREAK]
    assert creak[110:190].min() > 0.9
    assert creak[10:90].max() < 0.1
    assert creak[210:285].max() < 0.1
    assert not plain.values[:, CREAK].any()
    rest = np.arange(74) != CREAK
    np.testing.assert_array_equal(found.values[:, rest], plain.values[:, rest])
    assert plain.notes["filled_with_zero"] == "creak: no model"
    assert found.notes["filled_with_zero"] == ""
    assert "our own definitions" in found.notes["creak"]
    small = Covarep(creak_model=str(checkout), block=0.7)(audio)
    np.testing.assert_allclose(small.values[:, CREAK], creak, atol=1e-5)


def test_measures_of_creak_and_of_modal_voice():
    values = creak_inputs(Recording(MODAL_CREAK_MODAL.astype(np.float32), 20 * RATE))
    modal, creaky = np.median(values[5:80], axis=0), np.median(values[110:180], axis=0)
    at = {name: column for column, name in enumerate(MEASURES)}
    assert modal[at["creak_f0"]] == pytest.approx(120, abs=2)
    assert creaky[at["creak_f0"]] == pytest.approx(40, abs=1)
    assert modal[at["f0_median"]] == creaky[at["f0_median"]] == pytest.approx(120, abs=2)
    for name in ("peak_prominence", "power_fall", "power_rise", "power_deviation"):
        assert creaky[at[name]] > modal[at[name]] + 0.5, name
    # 40 Hz pulses do not come twice in the 32 ms over which periodicity is looked for.
    assert modal[at["intra_frame_periodicity"]] > 0.9
    assert creaky[at["intra_frame_periodicity"]] < 0.5
    # The same pulse came 25 ms before.
    assert min(modal[at["inter_pulse_similarity"]], creaky[at["inter_pulse_similarity"]]) > 0.95
    assert values[:, at["energy"]].max() == 0


def test_crossings_of_a_tone():
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE + 0.1).astype(np.float32)
    values = creak_inputs(Recording(tone, 20 * RATE))
    assert np.median(values[:, MEASURES.index("zero_crossings")]) == pytest.approx(2, abs=0.1)


def test_level_moves_no_measure():
    samples = MODAL_CREAK_MODAL.astype(np.float32)
    whole, quiet = (creak_inputs(Recording(s, 20 * RATE)) for s in (samples, samples / 4))
    np.testing.assert_allclose(quiet, whole, atol=0.05)


def test_differences_by_hand():
    found = with_differences(np.array([[1.0], [4.0], [2.0]]))
    np.testing.assert_array_equal(found, [[1, 0, 0], [4, 3, 3], [2, -2, -5]])


@pytest.mark.parametrize(
    "samples",
    [np.zeros(0), np.ones(1), np.zeros(RATE), np.ones(RATE), np.sign(MODAL_CREAK_MODAL)],
    ids=["nothing", "one sample", "silence", "constant", "square"],
)
def test_any_sound(samples, checkout):
    track = Covarep(creak_model=str(checkout))(Audio(samples.astype(np.float32), RATE))
    assert np.isfinite(track.values).all()
    assert ((track.values[:, CREAK] >= 0) & (track.values[:, CREAK] <= 1)).all()


def test_another_network_is_another_recipe(checkout):
    def key():
        acoustic = [{"backend": "covarep", "creak_model": str(checkout)}]
        steps = {"transcribe": {"backend": "whisperx"}, "align": {"backend": "pocketsphinx"}}
        return build_recipe({"name": "x", **steps, "acoustic": acoustic}).key("acoustic")

    first = key()
    assert key() == first
    save_network(find_network(str(checkout)), threshold=0.5)
    assert key() != first


def test_the_file_itself_may_be_named(checkout):
    path = find_network(str(checkout))
    assert path.name == "system_net_creak.mat"
    assert find_network(str(path)) == path


def test_what_is_no_checkout(tmp_path):
    with pytest.raises(WeightsMissing, match=r"no such file or folder: .*absent"):
        Covarep(creak_model=str(tmp_path / "absent"))(Audio(np.zeros(RATE, np.float32), RATE))
    with pytest.raises(WeightsMissing, match=r"no \.mat file with 'creak' in its path"):
        find_network(str(tmp_path))
    save_network(tmp_path / "creak/net.mat", output=np.ones((1, 31)))
    with pytest.raises(WeightsMissing, match=r"expected the output layer, an array \(32,\)"):
        find_network(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": np.ones((32, 35))}, r"hidden layer, an array \(32, 36\).*IW \(32, 35\)"),
        ({"low": np.ones(12)}, r"smallest inputs, an array \(36,\)"),
        ({"hidden_bias": np.ones((31, 1))}, r"hidden layer's bias"),
    ],
)
def test_a_network_of_another_shape(changes, message, tmp_path):
    with pytest.raises(WeightsDamaged, match=message):
        load_network(save_network(tmp_path / "creak.mat", **changes))


def test_a_file_that_is_no_matlab_file(tmp_path):
    (tmp_path / "creak.mat").write_bytes(b"\x00" * 300)
    with pytest.raises(WeightsDamaged, match="not a MATLAB file that can be read"):
        load_network(tmp_path / "creak.mat")
