"""Rd: the LF model against numeric integration, minimum phase, Brent's search, planted shapes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import fminbound
from scipy.signal import freqz

from extractors.acoustic_covarep.phase import (
    fit_rd,
    lf_spectrum,
    minimize_bounded,
    minimum_phase,
    solve_lf,
    wrap,
)
from extractors.acoustic_covarep.sinusoids import Harmonics


def lf_pulse(rd):
    """The LF flow derivative over one period of length 1, closing slope 1."""
    p = {name: float(value[0]) for name, value in solve_lf(np.array([rd])).items()}
    w, te = np.pi / p["tp"], p["te"]
    scale = -1 / (np.exp(p["a"] * te) * np.sin(w * te))

    def value(t):
        if t < te:
            return scale * np.exp(p["a"] * t) * np.sin(w * t)
        decay = np.exp(-p["e"] * (t - te)) - np.exp(-p["e"] * (1 - te))
        return -decay / (p["e"] * p["ta"])

    return value, p


@pytest.mark.parametrize("rd", [0.3, 0.7, 1.0, 1.8, 2.5])
def test_the_pulse_is_continuous_closes_with_slope_one_and_carries_no_flow(rd):
    value, p = lf_pulse(rd)
    assert value(p["te"] - 1e-9) == pytest.approx(-1, abs=1e-5)
    assert value(p["te"]) == pytest.approx(-1, abs=1e-6)
    assert value(1.0) == pytest.approx(0, abs=1e-9)
    net = quad(value, 0, p["te"])[0] + quad(value, p["te"], 1)[0]
    assert net == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("rd", [0.4, 1.2, 2.3])
def test_the_spectrum_is_the_fourier_integral(rd):
    value, p = lf_pulse(rd)
    got = lf_spectrum(np.array([rd]), np.array([1.0, 2.0, 9.0]))[0]
    for k, expected in zip((1, 2, 9), got, strict=True):
        parts = [
            sum(
                quad(lambda t, k=k, f=f: value(t) * f(2 * np.pi * k * t), a, b, limit=200)[0]
                for a, b in ((0, p["te"]), (p["te"], 1))
            )
            for f in (np.cos, np.sin)
        ]
        assert parts[0] - 1j * parts[1] == pytest.approx(expected, abs=1e-6)


def test_minimum_phase_of_a_known_filter():
    w, response = freqz([1, -0.5], [1, -1.2, 0.6], worN=np.linspace(0, np.pi, 513))
    got = minimum_phase(np.log(np.abs(response))[None])[0]
    np.testing.assert_allclose(got, np.unwrap(np.angle(response)), atol=1e-3)
    assert w[-1] == pytest.approx(np.pi)


def test_wrap():
    np.testing.assert_allclose(
        wrap(np.array([0.1, np.pi + 0.1, -7.0])), [0.1, 0.1 - np.pi, -7 + 2 * np.pi]
    )


def test_search_side_by_side_is_brents_search():
    rng = np.random.default_rng(0)
    centre, width, wave = rng.uniform(0.2, 2.6, 60), rng.uniform(0.3, 3, 60), rng.uniform(0, 9, 60)

    def function(x):
        return width * (x - centre) ** 2 + 0.2 * np.cos(wave * x)

    got, value = minimize_bounded(function, 0.3, 2.5, 60)
    for i in range(60):
        expected, at, *_ = fminbound(
            lambda x, i=i: width[i] * (x - centre[i]) ** 2 + 0.2 * np.cos(wave[i] * x),
            0.3, 2.5, xtol=0.01, maxfun=33, full_output=True,
        )  # fmt: skip
        assert got[i] == pytest.approx(expected, abs=1e-8)
        assert value[i] == pytest.approx(at)


def voiced_frame(rd, count, delay, resonance=0.8):
    """Harmonics of an LF pulse through a minimum-phase resonance, some samples late."""
    k = np.arange(1, count + 1)
    _, tract = freqz([1], [1, -2 * resonance * 0.7, resonance**2], worN=np.pi * k / (count + 0.5))
    spectrum = lf_spectrum(np.array([rd]), k.astype(float))[0] * tract
    return np.log(np.abs(spectrum)), np.angle(spectrum * np.exp(-1j * k * delay))


@pytest.mark.parametrize("count", [30, 60, 110])
@pytest.mark.parametrize("rd", [0.6, 1.0, 1.5, 2.1])
def test_planted_shape(rd, count):
    frames = [voiced_frame(rd, count, delay) for delay in (0.0, 0.4, 1.3)]
    spacing = np.full(3, 8000 / (count + 0.5))
    harmonics = Harmonics(
        spacing,
        spacing,
        np.full(3, count),
        np.array([level for level, _ in frames]),
        np.array([phase for _, phase in frames]),
    )
    got, confidence = fit_rd(harmonics)
    np.testing.assert_allclose(got[1], got[2], atol=0.02)  # whatever the delay
    assert got[0] == pytest.approx(rd, abs=0.15)
    assert confidence[0] > 0.9
    wrong, doubt = fit_rd(harmonics, v142_sign=True)
    assert doubt[0] < confidence[0]
    assert wrong.shape == (3,)


def test_no_frames():
    nothing = np.zeros(0)
    harmonics = Harmonics(nothing, nothing, np.zeros(0, int), np.zeros((0, 9)), np.zeros((0, 9)))
    rd, confidence = fit_rd(harmonics)
    assert len(rd) == len(confidence) == 0
