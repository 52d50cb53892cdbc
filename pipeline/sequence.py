"""Words with one feature row a modality each: what the whole pipeline is for."""

from __future__ import annotations

from dataclasses import dataclass

from extractors.types import Word, WordFeatures


@dataclass(frozen=True)
class AlignedSequence:
    """A clip's words and, for every modality, one row of features a word.

    Attributes
    ----------
    clip_id : content id of the clip.
    words : N words in order of start.
    features : modality -> WordFeatures with N rows. A modality that the clip does not have (a sound
        file has no picture) is present with NaN rows and coverage 0.
    """

    clip_id: str
    words: tuple[Word, ...]
    features: dict[str, WordFeatures]

    def __post_init__(self) -> None:
        for modality, rows in self.features.items():
            if len(rows.values) != len(self.words):
                raise ValueError(
                    f"{modality} has {len(rows.values)} rows for {len(self.words)} words"
                )

    def between(self, first: int, last: int) -> AlignedSequence:
        """The words first..last-1 with their rows."""
        return AlignedSequence(
            self.clip_id,
            self.words[first:last],
            {
                modality: WordFeatures(
                    rows.values[first:last], rows.coverage[first:last], rows.names
                )
                for modality, rows in self.features.items()
            },
        )
