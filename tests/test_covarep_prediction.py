"""Linear prediction against direct solutions and a frame-by-frame residual."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import solve_toeplitz
from scipy.signal import lfilter

from extractors.acoustic_covarep.prediction import (
    lp_residual,
    lpc,
    matlab_hanning,
    matlab_round,
    overlap_add,
    solve_levinson,
)
from tests.covarep_signals import RATE, phrase


@pytest.mark.parametrize(
    ("value", "expected"), [(0.5, 1), (1.5, 2), (2.5, 3), (-0.5, -1), (2.4999, 2), (0.0, 0)]
)
def test_rounding_is_away_from_zero(value, expected):
    assert matlab_round(value) == expected


def test_hanning_has_no_zero_ends():
    np.testing.assert_allclose(matlab_hanning(5), np.hanning(7)[1:-1])


@pytest.mark.parametrize("order", [1, 8, 18])
def test_predictors_solve_the_normal_equations(order):
    frames = np.random.default_rng(0).normal(size=(7, 301))
    got = lpc(frames, order)
    for frame, predictor in zip(frames, got, strict=True):
        r = np.array([frame[: len(frame) - k] @ frame[k:] for k in range(order + 1)])
        np.testing.assert_allclose(predictor[1:], solve_toeplitz(r[:-1], -r[1:]), atol=1e-9)
    assert (got[:, 0] == 1).all()


def test_a_planted_predictor_is_found():
    planted = np.array([1, -1.6, 0.9])
    samples = lfilter([1], planted, np.random.default_rng(1).normal(size=200_000))
    np.testing.assert_allclose(lpc(samples[None], 2)[0], planted, atol=0.01)


def test_a_frame_without_energy_predicts_nothing():
    np.testing.assert_array_equal(solve_levinson(np.zeros((1, 4))), [[1, 0, 0, 0]])
    constant = solve_levinson(np.ones((1, 4)))
    assert np.isfinite(constant).all()


def residual_frame_by_frame(x, order, model):
    size, hop = 400, 80
    window = matlab_hanning(size + 1)
    out, start = np.zeros(len(x)), 0
    while start + size < len(x) - 1:
        frame = x[start : start + size + 1] * window
        source = model[start : start + size + 1] * window
        r = np.array([source[: len(source) - k] @ source[k:] for k in range(order + 1)])
        predictor = np.r_[1, solve_toeplitz(r[:-1], -r[1:])]
        residual = lfilter(predictor, [1], frame)
        out[start : start + size + 1] += residual * np.sqrt((frame @ frame) / (residual @ residual))
        start += hop
    return out


@pytest.mark.parametrize("n", [4000, 4001, 4079, 402, 401, 10])
def test_residual_against_a_loop_over_frames(n):
    x = phrase(1.0)[3000 : 3000 + n]
    other = np.diff(x, prepend=0.0)
    np.testing.assert_allclose(
        lp_residual(x, 18, RATE), residual_frame_by_frame(x, 18, x), atol=1e-7
    )
    np.testing.assert_allclose(
        lp_residual(x, 18, RATE, other), residual_frame_by_frame(x, 18, other), atol=1e-7
    )


def test_residual_of_digital_silence_is_silence():
    x = np.r_[phrase(0.3), np.zeros(3000), phrase(0.3)]
    residual = lp_residual(x, 18, RATE)
    assert np.isfinite(residual).all()
    assert not residual[4800 + 401 : 7800 - 401].any()


@pytest.mark.parametrize(("count", "size", "hop"), [(5, 401, 80), (3, 80, 80), (4, 7, 10)])
def test_overlap_add_against_a_loop(count, size, hop):
    frames = np.random.default_rng(2).normal(size=(count, size))
    n = (count - 1) * hop + size + 3
    got, expected = np.zeros(n), np.zeros(n)
    overlap_add(frames, hop, got)
    for k, frame in enumerate(frames):
        expected[k * hop : k * hop + size] += frame
    np.testing.assert_allclose(got, expected)
