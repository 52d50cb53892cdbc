"""Transforms of rows: right, and the same to the last bit in any company."""

from __future__ import annotations

import numpy as np
import pytest

from extractors.acoustic_covarep.transforms import fill_up, irfft, rfft


@pytest.mark.parametrize("length", [343, 352, 420, 600, 735, 1000, 4096, 9858])
@pytest.mark.parametrize("rows", [1, 3, 8, 21])
def test_a_row_does_not_depend_on_the_others(length, rows):
    x = np.random.default_rng(0).normal(size=(rows, length))
    spectra = rfft(x, length)
    back = irfft(spectra, length)
    assert spectra.shape == (rows, length // 2 + 1)
    np.testing.assert_allclose(spectra, np.fft.rfft(x), atol=1e-9)
    np.testing.assert_allclose(back, x, atol=1e-12)
    for i in range(rows):
        np.testing.assert_array_equal(rfft(x[i : i + 1], length)[0], spectra[i])
        np.testing.assert_array_equal(irfft(spectra[i : i + 1], length)[0], back[i])


def test_rows_are_filled_up_to_a_multiple_of_eight():
    assert fill_up(np.ones((3, 2))).shape == (8, 2)
    assert fill_up(np.ones((8, 2))).shape == (8, 2)
    assert fill_up(np.ones((0, 2))).shape == (0, 2)
    assert fill_up(np.ones((3, 2), complex)).dtype == complex
    assert not fill_up(np.ones((3, 2)))[3:].any()
