"""Stage by stage against COVAREP's own output (run under Octave)."""

from __future__ import annotations

import numpy as np
import pytest

from extractors.acoustic_covarep import (
    NAMES,
    Covarep,
    find_harmonics,
    find_polarity,
    frame_spectra,
    glottal_flow,
    glottal_periods,
    keep_voiced,
    lp_residual,
    maxima_dispersion,
    mel_cepstrum,
    peak_slope,
    sedreams,
    srh_pitch,
    true_envelope,
    voice_quality,
)
from extractors.types import Audio
from tests.conftest import shared

SPEECH = ("arctic_a0007", "flite_slt")
FILES = (*SPEECH, "arctic_zeros", "noise_only")


@pytest.fixture(params=FILES)
def reference(request):
    return load(request.param)


@pytest.fixture(params=SPEECH)
def speech(request):
    return load(request.param)


def load(name):
    with np.load(shared(f"reference/covarep/{name}.npz")) as file:
        return {**file, "name": name, "x64": file["x"].astype(float)}


def agreement(ours, theirs) -> float:
    return float(np.corrcoef(ours, theirs)[0, 1])


def test_polarity(reference):
    assert find_polarity(reference["x64"]) == reference["polarity"]
    assert find_polarity(-reference["x64"]) == -reference["polarity"]


def test_residual(reference):
    ours = lp_residual(reference["x64"], 18, 16000)
    theirs = reference["lp_residual"]
    known = np.isfinite(theirs)  # theirs is NaN in digital silence
    np.testing.assert_allclose(ours[known] / np.abs(ours).max(), theirs[known], atol=1e-7)
    assert np.isfinite(ours).all()


def test_pitch(reference):
    ours = srh_pitch(reference["x64"])
    np.testing.assert_allclose(ours.times, reference["srh_time"])
    np.testing.assert_array_equal(ours.f0, reference["srh_f0"])
    np.testing.assert_array_equal(ours.voiced, reference["srh_vuv"] > 0.5)
    assert ours.median == reference["f0med"]


def test_closure_instants(reference):
    found = sedreams(reference["x64"], float(reference["f0med"]))
    kept = keep_voiced(found, reference["srh_time"], reference["srh_vuv"] > 0.5, 16000)
    np.testing.assert_array_equal(kept, reference["gci_1based"])


def test_glottal_flow(reference):
    gci = reference["gci_1based"].astype(int)
    flow, derivative = glottal_flow(reference["x64"], gci, 16000)
    for ours, theirs in ((flow, reference["g_iaif"]), (derivative, reference["gd_iaif"])):
        np.testing.assert_allclose(ours, theirs, atol=1e-6 * np.abs(theirs).max())


def test_pulse_measures(reference):
    gci = reference["gci_1based"].astype(int)
    flow, derivative = glottal_flow(reference["x64"], gci, 16000)
    ours = voice_quality(flow, derivative, gci, glottal_periods(gci, 16000), 16000)
    for column, name in enumerate(("NAQ", "QOQ", "H1H2", "PSP")):
        theirs = reference[f"{name}_gci"]
        np.testing.assert_allclose(theirs[:, 0] * 16000, gci + 1, err_msg=name)
        scale = np.abs(theirs[:, 1]).max()
        close = np.abs(ours[:, column] - theirs[:, 1]) <= 1e-4 * scale
        assert close.mean() >= 0.995, name


def test_maxima_dispersion(reference):
    gci = reference["gci_1based"].astype(int)
    residual = lp_residual(reference["x64"], 18, 16000)
    ours = maxima_dispersion(residual, gci, glottal_periods(gci, 16000), 0, len(reference["x64"]))
    np.testing.assert_allclose(ours, reference["MDQ_gci"][:, 1], atol=1e-9)


def test_peak_slope(reference):
    theirs = reference["peakslope_raw"][:, 1]
    theirs = np.where(np.isfinite(theirs), theirs, 0)
    np.testing.assert_allclose(peak_slope(reference["x64"]), theirs, atol=1e-6)


def test_rd_frame_by_frame(reference):
    from extractors.acoustic_covarep import fit_rd

    sounding = reference["sin_f0"] > 1
    f0, theirs = reference["sin_f0"][sounding], reference["rd_raw"][sounding]
    centres = np.round(reference["sin_times"][sounding] * 16000).astype(int)
    spectra = frame_spectra(reference["x64"], centres, f0, 16000)
    rd, confidence = fit_rd(find_harmonics(spectra, f0, 16000), v142_sign=True)
    assert agreement(rd, theirs[:, 1]) >= 0.9999
    assert agreement(confidence, theirs[:, 2]) >= 0.9999
    assert np.abs(confidence - theirs[:, 2]).max() < 1e-3


def test_cepstrum_frame_by_frame(reference):
    sounding = reference["sin_f0"] > 1
    f0, theirs = reference["sin_f0"][sounding], reference["mcep_raw"][sounding]
    centres = np.round(reference["sin_times"][sounding] * 16000).astype(int)
    level = np.log(np.abs(frame_spectra(reference["x64"], centres, f0, 16000)))
    # At COVAREP's own 4096 points the two are the same; the track uses 1024.
    for step, least in ((1, 0.99999), (4, 0.9995)):
        ours = mel_cepstrum(true_envelope(np.ascontiguousarray(level[:, ::step]), f0))
        for column in range(25):
            assert agreement(ours[:, column], theirs[:, column]) >= least, (step, column)


@pytest.fixture(scope="module")
def tracks():
    made = {}

    def track(name, variant):
        if (name, variant) not in made:
            audio = Audio(load(name)["x"], 16000)
            made[name, variant] = Covarep(rd=variant)(audio)
        return made[name, variant]

    return track


@pytest.mark.parametrize("name", [*SPEECH, "noise_only"])
def test_the_whole_track(name, tracks):
    reference, track = load(name), tracks(name, "v1.4.2")
    theirs, ours = reference["features"], track.values
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(track.times, reference["frame_times"], atol=1e-9)
    short = [str(n).lower() for n in reference["names"]]
    assert [n.removeprefix("covarep.").replace(".", "_") for n in NAMES[11:]] == short[11:]
    for column in (0, *range(2, 10), *range(11, 36)):
        least = 0.999
        assert agreement(ours[:, column], theirs[:, column]) >= least, NAMES[column]
    assert (ours[:, 1] == theirs[:, 1]).mean() >= 0.995
    for column in range(36 + 5, 36 + 24):
        away = np.exp(1j * (ours[:, column] - theirs[:, column]))
        assert np.abs(away.mean()) >= 0.99, NAMES[column]
    hmpdd = [agreement(ours[:, c], theirs[:, c]) for c in range(61, 74)]
    # Not more: the first and last frame of a file are rounding noise in COVAREP.
    assert min(hmpdd) >= 0.93
    assert np.mean(hmpdd) >= 0.98


def test_deviations_are_exact_away_from_the_ends(speech, tracks):
    ours = tracks(speech["name"], "v1.4.2").values[15:-15, 61:]
    theirs = speech["features"][15:-15, 61:]
    for column in range(13):
        assert agreement(ours[:, column], theirs[:, column]) >= 0.998, column


def test_the_corrected_rd(speech, tracks):
    ours = tracks(speech["name"], "corrected").values
    for column, theirs in zip((8, 9), speech["rd_v141"].T, strict=True):
        assert agreement(ours[:, column], theirs) >= 0.999


def test_digital_silence(tracks):
    """Where COVAREP has numbers at all, and away from the silence where it reaches beyond itself.

    MCEP cannot be compared here, only frame by frame above: COVAREP leaves out frames and spreads
    the rest over the whole file.
    """
    reference, track = load("arctic_zeros"), tracks("arctic_zeros", "v1.4.2")
    theirs, ours = reference["features"], track.values
    finite = np.isfinite(theirs).all(axis=1)
    for column in range(8):
        assert agreement(ours[finite, column], theirs[finite, column]) >= 0.999, NAMES[column]
    assert (~finite).any()  # it writes -Inf for peakSlope
    assert np.isfinite(ours).all()
    quiet = np.convolve(reference["x"] == 0, np.ones(400), "same") >= 400
    at = reference["frame_samples_1based"].astype(int) - 1

    def away_from_silence(seconds):
        return np.convolve(quiet, np.ones(int(2 * seconds * 16000)), "same")[at] < 0.5

    speech = away_from_silence(0.1)
    for column in (8, 9):
        assert agreement(ours[speech, column], theirs[speech, column]) >= 0.999, NAMES[column]
    speech = away_from_silence(0.3)  # phase distortion is smoothed over 25 frames, twice
    assert speech.sum() > 150
    for column in range(36 + 5, 36 + 24):
        away = np.exp(1j * (ours[speech, column] - theirs[speech, column]))
        assert np.abs(away.mean()) >= 0.999, NAMES[column]
    for column in range(61, 74):
        assert agreement(ours[speech, column], theirs[speech, column]) >= 0.99, NAMES[column]
