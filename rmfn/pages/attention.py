"""The attention of a clip's HIGHLIGHT stages, as a table and as maps (the paper's figure 3)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rmfn.explain import Explained

UNIFORM = 0.99  # entropy over that of an even spread; above it attention singles little out
MOST = 4_000_000  # attention values on a page; of a longer clip only one member's are kept


def summarise_attention(explained: Sequence[Explained]) -> dict[str, Any] | None:
    """The attention of a clip as tables, and as what the page draws; None without HIGHLIGHT.

    A unit's attention is told relative to a uniform one, a x H: 1 = as if nothing was chosen.
    """
    seen = [each.attention for each in explained if each.attention is not None]
    if not seen:
        return None
    parts = seen[0].parts
    members, _, stages, units = seen[0].weights.shape
    weights = np.concatenate([one.weights for one in seen], axis=1).astype(np.float64)
    entropy = -(weights * np.log(np.maximum(weights, 1e-12))).sum(-1) / np.log(units)
    relative = np.log2(np.maximum(weights * units, 1e-6))
    limit = float(np.ceil(np.percentile(np.abs(relative), 99.9) * 10) / 10) or 0.1
    kept = members if weights.size <= MOST else 1
    shares = {
        modality: np.concatenate([one.share[modality] for one in seen])  # [N, K]
        for modality in parts
    }
    return {
        "members": members,
        "kept": kept,
        "stages": stages,
        "units": units,
        "entropy": entropy.mean(axis=(0, 1)).tolist(),
        "uniform": bool(entropy.mean() >= UNIFORM),
        "range": [float(value) for value in np.percentile(weights * units, [0.5, 99.5])],
        "rows": [
            {
                "modality": modality,
                "units": part.stop - part.start,
                "even": (part.stop - part.start) / units,
                "mean": shares[modality].mean(axis=0).tolist(),
                "low": float(shares[modality].min()),
                "high": float(shares[modality].max()),
            }
            for modality, part in parts.items()
        ],
        "drawn": {
            "members": kept,
            "stages": stages,
            "units": units,
            "parts": {modality: [part.start, part.stop] for modality, part in parts.items()},
            "limit": limit,
            # member, stage, unit, word: a byte each, 0 = -limit, 255 = +limit, in log2(a H)
            "weights": [
                _to_bytes(
                    np.log2(np.maximum(one.weights[:kept] * units, 1e-6)).transpose(0, 2, 3, 1),
                    limit,
                )
                for one in seen
            ],
            "shares": [
                {modality: np.round(one.share[modality].T, 4).tolist() for modality in parts}
                for one in seen
            ],
        },
    }


def _to_bytes(values: NDArray[np.float64], limit: float) -> str:
    scaled = np.round((np.clip(values / limit, -1, 1) + 1) * 127.5)
    return base64.b64encode(scaled.astype(np.uint8).tobytes()).decode()
