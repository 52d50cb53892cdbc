"""The trained network of the creak detector, read from the user's own copy of COVAREP.

Its weights are distributed with COVAREP under the GPL, so that they are not part of this package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.acoustic_covarep.prediction import FloatArray
from extractors.weights import WeightsDamaged, WeightsMissing

INPUTS, HIDDEN = 36, 32


@dataclass(frozen=True)
class Network:
    """A perceptron with one hidden layer (Kane, Drugman & Gobl, CSL 27(4), 2013, section 3.3).

    Attributes
    ----------
    low, high : [36] range of each input in training; it becomes -1..1.
    hidden, hidden_bias : [32, 36], [32].
    output, output_bias : [32], one number.
    """

    low: FloatArray
    high: FloatArray
    hidden: FloatArray
    hidden_bias: FloatArray
    output: FloatArray
    output_bias: float

    def __call__(self, inputs: FloatArray) -> FloatArray:
        """Posterior of creaky voice [T] in 0..1 from inputs [T, 36]."""
        span = self.high - self.low
        scaled = 2 * (inputs - self.low) / np.where(span == 0, 1, span) - 1
        layer = np.tanh(scaled @ self.hidden.T + self.hidden_bias)
        # Beyond 700 the exponential overflows; the posterior is 0 or 1 long before.
        return 1 / (1 + np.exp(-np.clip(layer @ self.output + self.output_bias, -700, 700)))


def find_network(place: str) -> Path:
    """The network file in a checkout of COVAREP: the first ``.mat`` file with creak in its path
    that holds such a network. ``place`` may also be the file itself.

    Raises
    ------
    WeightsMissing : there is no such folder or file, or no such network in it.
    """
    given = Path(place).expanduser()
    if given.is_file():
        return given
    if not given.is_dir():
        raise WeightsMissing(f"creak_model: no such file or folder: {given}")
    candidates = [
        path for path in sorted(given.rglob("*.mat")) if "creak" in str(path.relative_to(given))
    ]
    reasons = []
    for path in candidates:
        try:
            load_network(path)
        except WeightsDamaged as error:
            reasons.append(str(error))
        else:
            return path
    raise WeightsMissing(
        f"creak_model: no trained network of the creak detector in {given}: "
        + ("; ".join(reasons) or "it has no .mat file with 'creak' in its path")
        + ". Name a checkout of COVAREP (github.com/covarep/covarep) or the file itself"
    )


def load_network(path: Path) -> Network:
    """Read a network that MATLAB wrote, as plain arrays; nothing in the file is run.

    Raises
    ------
    WeightsDamaged : not a MATLAB file, or its arrays are not those of a 36-32-1 network.
    """
    from scipy.io import loadmat

    try:
        content = loadmat(path)
    except Exception as error:  # the reader has many words for a file that is none
        raise WeightsDamaged(f"{path}: not a MATLAB file that can be read ({error})") from error
    arrays = [found for name in sorted(content) for found in _walk(content[name], name)]

    def take(what: str, size: tuple[int, ...], *names: str) -> NDArray[np.float64]:
        for name in names:
            # An outer array goes before those of a network's own settings.
            of_name = [found for found in arrays if found[1].lower().startswith(name)]
            for _, _, array in sorted(of_name, key=lambda found: found[0]):
                if array.shape == size or (len(size) == 1 and array.size == size[0]):
                    return array.astype(np.float64).reshape(size)
        shapes = ", ".join(f"{name} {array.shape}" for _, name, array in arrays[:12]) or "none"
        raise WeightsDamaged(
            f"{path}: expected the {what}, an array {size} called {' or '.join(names)}; "
            f"it holds: {shapes}"
        )

    return Network(
        take("smallest inputs", (INPUTS,), "min", "xmin"),
        take("largest inputs", (INPUTS,), "max", "xmax"),
        take("hidden layer", (HIDDEN, INPUTS), "iw"),
        take("hidden layer's bias", (HIDDEN,), "b"),
        take("output layer", (HIDDEN,), "lw"),
        float(take("output layer's bias", (1,), "b")[0]),
    )


def _walk(value: Any, name: str, depth: int = 0) -> Iterator[tuple[int, str, NDArray[Any]]]:
    """Arrays of numbers in what MATLAB saved: (depth, name of the innermost field, array)."""
    if not isinstance(value, np.ndarray):
        return
    if value.dtype.names:
        for field in value.dtype.names:
            yield from _walk(value[field], field, depth + 1)
    elif value.dtype == object:
        for element in value.flat:
            yield from _walk(element, name, depth + 1)
    elif np.issubdtype(value.dtype, np.number) and value.size:
        yield depth, name, value
