"""What a data set holds, in a table for people."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from extractors.types import MODALITIES
from rmfn.dataset import SPLITS, Dataset, describe_target


def describe_dataset(dataset: Dataset) -> list[dict[str, Any]]:
    """Rows {"what", "found"}: segments, videos, words, columns, labels, splits."""
    lengths = [len(sequence.words) for sequence in dataset.sequences]
    speakers = len(set(dataset.speakers) - {""})
    rows = [
        ("segments", f"{len(dataset)}"),
        ("videos", f"{len(set(dataset.videos))}"),
        ("speakers", f"{speakers}" if speakers else "not known"),
        ("words", f"{sum(lengths)}, {np.median(lengths):g} a segment (up to {max(lengths)})"),
    ]
    columns = dataset.columns
    rows += [(m, _describe_modality(dataset, m)) for m in MODALITIES if m in columns]
    for name, values in dataset.labels.items():
        given = values[~np.isnan(values)]
        target = next((describe_target(t) for t in dataset.targets if t.name == name), "")
        found = f"{given.min():g} to {given.max():g}, mean {given.mean():.2f}" if len(given) else ""
        missing = f", {len(values) - len(given)} without" if len(given) < len(values) else ""
        rows.append((f"label {name}", f"{found}{missing}{'; ' if target else ''}{target}"))
    counted = Counter(dataset.splits)
    videos = {
        split: {v for v, s in zip(dataset.videos, dataset.splits, strict=True) if s == split}
        for split in counted
    }
    names = [split for split in (*SPLITS, "") if split in counted]
    rows.append(
        (
            "splits",
            ", ".join(
                f"{split or 'none'} {counted[split]} ({len(videos[split])} videos)"
                for split in names
            ),
        )
    )
    return [{"what": what, "found": found} for what, found in rows]


def _describe_modality(dataset: Dataset, modality: str) -> str:
    """Columns, and in how many words anything was seen."""
    rows = [s.features[modality] for s in dataset.sequences if modality in s.features]
    seen = np.concatenate([each.coverage > 0 for each in rows])
    without = len(dataset) - len(rows)
    absent = f", {without} segments do not have it" if without else ""
    names = dataset.columns[modality]
    called = f" ({names[0]} ... {names[-1]})" if names else ""
    share = seen.mean() if len(seen) else 0.0
    return f"{len(names)} columns{called}, seen in {share:.1%} of words{absent}"
