"""Inverse filtering against a loop over periods, and the pulse measures against definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import solve_toeplitz
from scipy.signal import lfilter

from extractors.acoustic_covarep.glottal import (
    flow_high_pass,
    glottal_flow,
    glottal_periods,
    similar_lengths,
)
from extractors.acoustic_covarep.prediction import matlab_hanning
from extractors.acoustic_covarep.pulses import (
    first_harmonics,
    fit_parabola,
    nearest_peaks_difference,
    parabolic_spectral_parameter,
    pulse_shape,
    voice_quality,
)
from tests.covarep_signals import RATE, glottal_voice, vocal_tract, vowel


def predictor(frame, order):
    r = np.array([frame[: len(frame) - k] @ frame[k:] for k in range(order + 1)])
    return np.r_[1, solve_toeplitz(r[:-1], -r[1:])]


def iaif_of_one_frame(frame):
    x = np.convolve(frame, flow_high_pass(RATE))[150 : 150 + len(frame)]
    window = matlab_hanning(len(x))
    signal = np.r_[np.linspace(-x[0], x[0], 21), x]
    y = lfilter(predictor(x * window, 1), [1], signal)[21:]
    y = lfilter(predictor(y * window, 20), [1, -0.99], signal)[21:]
    y = lfilter(predictor(y * window, 8), [1, -0.99], signal)[21:]
    derivative = lfilter(predictor(y * window, 20), [1], signal)
    return lfilter([1], [1, -0.99], derivative)[21:], derivative[21:]


@pytest.fixture(scope="module")
def spoken():
    samples, at = vowel(140.0, 0.8, seed=3)
    gci = at[(at > 200) & ((at < 5000) | (at > 8000))]  # with a pause
    return samples, gci


def test_flow_against_a_loop_over_periods(spoken):
    x, gci = spoken
    flow, derivative = np.zeros(len(x)), np.zeros(len(x))
    for n, g in enumerate(gci):
        period = gci[1] - gci[0] if n == 0 else g - gci[n - 1]
        start, stop = max(g - 1 - period, 0), min(g + period, len(x))
        f, d = iaif_of_one_frame(x[start:stop] * matlab_hanning(stop - start))
        flow[start:stop] += f
        derivative[start:stop] += d
    got_flow, got_derivative = glottal_flow(x, gci, RATE)
    np.testing.assert_allclose(got_flow, flow, atol=1e-7 * np.abs(flow).max())
    np.testing.assert_allclose(got_derivative, derivative, atol=1e-7 * np.abs(derivative).max())


def test_a_part_of_the_flow_is_the_same(spoken):
    x, gci = spoken
    whole = glottal_flow(x, gci, RATE)
    part = glottal_flow(x, gci, RATE, 4000, 9000)
    turned = glottal_flow(-x, gci, RATE, sign=-1.0)
    for a, b, c in zip(whole, part, turned, strict=True):
        np.testing.assert_allclose(a[4000:9000], b, atol=1e-9)
        np.testing.assert_allclose(a, c, atol=1e-12)


def test_inverse_filtering_finds_the_planted_flow():
    period = 128
    samples = glottal_voice(RATE / period, 0.6, 0.6)
    closures = np.arange(1, len(samples) // period) * period + round(0.6 * period)
    _, derivative = glottal_flow(samples, closures, RATE)
    pulse = derivative[4000:6560].reshape(-1, period).mean(axis=0)
    t = np.arange(4000, 6560) % period / (0.6 * period)
    planted = np.where(t < 1, 2 * t - 3 * t**2, 0).reshape(-1, period)[0]
    assert np.corrcoef(pulse, planted)[0, 1] > 0.8


def test_no_flow_without_instants():
    flow, derivative = glottal_flow(np.ones(500), np.zeros(0, int), RATE)
    assert not flow.any()
    assert not derivative.any()


def test_periods_are_distances_to_the_instant_before():
    assert glottal_periods(np.array([10, 110, 230]), RATE).tolist() == [100, 100, 120]
    assert glottal_periods(np.array([10, 10 + 20 * RATE]), RATE).max() == 10 * RATE
    assert glottal_periods(np.array([10]), RATE).tolist() == [0]


def test_groups_hold_every_index_once_and_similar_lengths():
    lengths = np.random.default_rng(0).integers(1, 3000, 500)
    groups = list(similar_lengths(lengths))
    assert sorted(np.concatenate([group for _, group in groups])) == list(range(500))
    size_of = {}
    for size, group in groups:
        assert lengths[group].max() <= size <= max(32, 1.16 * lengths[group].min() + 1)
        size_of |= dict.fromkeys(lengths[group].tolist(), size)
    assert list(similar_lengths(np.zeros(0, int))) == []
    for length in lengths[:50]:  # a length goes to the same size in any company
        assert [size for size, _ in similar_lengths(np.array([length]))] == [size_of[length]]


def shape_of_one_pulse(flow, derivative, start, stop, period):
    pulse = flow[start : stop + 1] - np.linspace(flow[start], flow[stop], stop - start + 1)
    pulse[0] = pulse[-1] = 0
    peak = int(np.argmax(pulse))
    left = right = peak
    while pulse[left] > pulse[peak] / 2 and left + 1 > 3:
        left -= 1
    while pulse[right] > pulse[peak] / 2 and right + 1 < len(pulse) - 2:
        right += 1
    end = stop + 8 if stop + 8 < len(derivative) else stop
    steepest = np.abs(derivative[start : end + 1]).max()
    return pulse[peak] / (steepest * period), (right - left) / period


def test_naq_and_qoq_against_a_loop():
    rng = np.random.default_rng(1)
    flow = np.convolve(rng.normal(size=4000), np.hanning(60), "same")
    derivative = np.diff(flow, prepend=0)
    start = np.sort(rng.integers(0, 3700, 40))
    stop = np.minimum(start + rng.integers(5, 300, 40), 3999)
    periods = stop - start
    naq, qoq = pulse_shape(flow, derivative, start, stop, periods, RATE)
    expected = [
        shape_of_one_pulse(flow, derivative, *args)
        for args in zip(start, stop, periods, strict=True)
    ]
    np.testing.assert_allclose(naq, [e[0] for e in expected], rtol=1e-12)
    np.testing.assert_allclose(qoq, [e[1] for e in expected], rtol=1e-12)


def test_the_derivative_is_looked_at_for_half_a_millisecond_more_if_the_file_has_it():
    flow = np.r_[np.zeros(50), np.hanning(100), np.zeros(50)]
    for place, seen in ((158, True), (159, False)):
        derivative = np.full(200, 0.01)
        derivative[place] = 1.0
        naq, _ = pulse_shape(
            flow, derivative, np.array([50]), np.array([150]), np.array([100]), RATE
        )
        assert (naq[0] < 0.1) == seen
    derivative[:] = 0.01
    derivative[198] = 1.0  # 8 samples after 195 there is no file any more
    flow = np.r_[np.zeros(100), np.hanning(95), np.zeros(5)]
    naq, _ = pulse_shape(flow, derivative, np.array([100]), np.array([195]), np.array([95]), RATE)
    assert naq[0] == pytest.approx(flow.max() / (0.01 * 95), rel=1e-3)


def test_naq_and_qoq_of_a_triangle():
    # Up over 60 samples, down over 20, flat over 20: height 1, steepest -1/20, half height from 30
    # to 70.
    flow = np.r_[np.linspace(0, 1, 61), np.linspace(1, 0, 21)[1:], np.zeros(20)]
    flow = np.r_[flow, np.zeros(20)]
    derivative = np.diff(flow, prepend=0)
    naq, qoq = pulse_shape(flow, derivative, np.array([0]), np.array([100]), np.array([100]), RATE)
    assert naq[0] == pytest.approx(20 / 100)
    assert qoq[0] == pytest.approx((70 - 30) / 100, abs=0.011)


@pytest.mark.parametrize("difference", [-6.0, 0.0, 12.0])
@pytest.mark.parametrize("f0", [100.0, 160.0, 250.0])
def test_planted_h1_h2(f0, difference):
    t = np.arange(4000) / RATE
    h2 = 10 ** (-difference / 20)
    derivative = 0.01 * (np.cos(2 * np.pi * f0 * t) + h2 * np.cos(4 * np.pi * f0 * t + 1))
    period = round(RATE / f0)
    got = first_harmonics(derivative, np.array([2000]), np.array([period]), RATE)
    assert got[0] == pytest.approx(difference, abs=0.7)


def test_close_peaks_leave_the_higher_one():
    power = np.full((1, 500), 1e-6)
    for hz, level in ((60, 5.0), (99, 9.0), (130, 7.0), (199, 3.0), (280, 8.0)):
        power[0, hz] = level
    # Within 50 Hz: 60-99, 99-130 (deleted: 60, 130). Left: 99 and 199, one bin low as in COVAREP.
    got = nearest_peaks_difference(power, np.array([100.0]))
    assert got[0] == pytest.approx(10 * np.log10(9.0 / 3.0))
    assert nearest_peaks_difference(np.zeros((1, 50)), np.array([100.0])) == 0


def test_peaks_are_close_within_half_of_f0():
    power = np.full((1, 500), 1e-6)
    power[0, 92], power[0, 135], power[0, 200] = 5.0, 9.0, 1.0  # 43 Hz apart: 92 goes
    got = nearest_peaks_difference(power, np.array([100.0]))
    assert got[0] == pytest.approx(10 * np.log10(9.0))


def test_the_nearest_peak_is_told_by_the_index_from_one():
    power = np.full((1, 500), 1e-6)
    power[0, 74], power[0, 125], power[0, 200] = 2.0, 3.0, 1.0  # 75 is nearer to 100 than 126
    got = nearest_peaks_difference(power, np.array([100.0]))
    assert got[0] == pytest.approx(10 * np.log10(2.0))


def test_parabola_against_least_squares():
    pulses = np.array([np.hanning(120), np.hanning(120) ** 3, np.r_[np.ones(40), np.zeros(80)]])
    got = fit_parabola(pulses)
    for pulse, value in zip(pulses, got, strict=True):
        level = 20 * np.log10(np.abs(np.fft.rfft(pulse, 2048)[:1024]) + 1e-15)
        for n in range(3, 1025):
            k2 = np.arange(n) ** 2
            design = np.stack([k2, np.ones(n)], axis=1)
            (a, b), *_ = np.linalg.lstsq(design, level[:n], rcond=None)
            error = ((level[:n] - a * k2 - b) ** 2).sum() / (level[:n] ** 2).sum()
            if error >= 0.01:
                break
        assert value == pytest.approx(a, rel=1e-6)


def test_psp_grows_with_steepness_and_ignores_level():
    widths = (30, 60, 90)
    rows = [np.r_[np.zeros(5), np.hanning(w), np.zeros(100 - w)] for w in widths]
    flow = np.concatenate(rows)
    start = np.arange(3) * 105
    args = (start, start + 104, np.full(3, 104))
    psp = parabolic_spectral_parameter(flow, *args)
    np.testing.assert_allclose(parabolic_spectral_parameter(7 * flow + 3, *args), psp, rtol=1e-6)
    assert psp[0] < psp[1] < psp[2]
    assert not parabolic_spectral_parameter(np.zeros(315), *args).any()


def test_pulses_out_of_range_are_not_measured():
    flow = np.random.default_rng(2).normal(size=6000)
    gci = np.array([1000, 1020, 3000, 3100])
    got = voice_quality(flow, flow, gci, glottal_periods(gci, RATE), RATE)
    assert not got[:3].any()  # 800 Hz, 800 Hz, 8 Hz
    assert got[3, 0] > 0


def test_tense_and_lax_voices_differ_as_they_should():
    def median_naq(open_share):
        period = 128
        samples = glottal_voice(RATE / period, 0.6, open_share)
        closures = np.arange(1, len(samples) // period) * period + round(open_share * period)
        flow, derivative = glottal_flow(samples, closures, RATE)
        periods = glottal_periods(closures, RATE)
        return np.median(voice_quality(flow, derivative, closures, periods, RATE)[5:-5, 0])

    assert median_naq(0.4) < median_naq(0.6) < median_naq(0.9)
    assert vocal_tract(np.r_[1.0, np.zeros(99)]).max() == 1
