"""The systems of the paper's tables: their names, in its order, and what it published of them.

Light to import: it knows names, not models (those are in ``rmfn.baselines``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

TITLES = {
    "svm": "SVM",
    "svm-md": "SVM-MD",
    "rf": "RF",
    "thmm": "THMM",
    "ef-hcrf": "EF-HCRF",
    "ef-ldhcrf": "EF-LDHCRF",
    "mv-hcrf": "MV-HCRF",
    "mv-ldhcrf": "MV-LDHCRF",
    "cmv-hcrf": "CMV-HCRF",
    "cmv-ldhcrf": "CMV-LDHCRF",
    "ef-hsshcrf": "EF-HSSHCRF",
    "mv-hsshcrf": "MV-HSSHCRF",
    "df": "DF",
    "sal-cnn": "SAL-CNN",
    "c-mkl": "C-MKL",
    "ef-lstm": "EF-LSTM",
    "ef-slstm": "EF-SLSTM",
    "ef-blstm": "EF-BLSTM",
    "ef-sblstm": "EF-SBLSTM",
    "mv-lstm": "MV-LSTM",
    "bc-lstm": "BC-LSTM",
    "tfn": "TFN",
    "gme-lstm": "GME-LSTM(A)",
    "marn": "MARN",
    "mfn": "MFN",
    "rmfn-r1": "RMFN-R1 (K = 1)",
    "rmfn-r2": "RMFN-R2 (K = 2)",
    "rmfn-r3": "RMFN-R3 (K = 3)",
    "rmfn-r4": "RMFN-R4 (K = 4)",
    "rmfn-no-mfp": "RMFN (no MFP)",
    "rmfn-no-highlight": "RMFN (no HIGHLIGHT)",
    "rmfn-literal": "RMFN (literal HIGHLIGHT)",
    "rmfn": "RMFN",
}
QUESTIONS = (
    "rmfn-r1",
    "rmfn-r2",
    "rmfn-r3",
    "rmfn-r4",
    "rmfn-no-mfp",
    "rmfn-no-highlight",
    "marn",
)
GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(TITLES),
    "questions": QUESTIONS,
    "classical": ("svm", "svm-md", "rf", "thmm", "c-mkl"),
    "hcrf": tuple(name for name in TITLES if name.endswith("hcrf")),
    "lstm": tuple(name for name in TITLES if "lstm" in name),
    "networks": ("df", "sal-cnn", "tfn", "marn", "mfn"),
}
REFERENCE = "rmfn"  # that the others are compared with

# Liang et al. 2018, tables 1 and 2: CMU-MOSI, its test split; a2, f1 and a7 as fractions. Only what
# is known for certain; "majority" is what the paper calls so, though no constant gives it.
PUBLISHED: dict[str, dict[str, float]] = {
    "majority": {"a2": 0.502, "f1": 0.501, "a7": 0.175, "mae": 1.864, "corr": 0.057},
    "mv-hcrf": {"a2": 0.448, "f1": 0.277},
    "mfn": {"a2": 0.774},
    "rmfn": {"a2": 0.784, "f1": 0.780, "a7": 0.383, "mae": 0.922, "corr": 0.681},
    "rmfn-r1": {"a2": 0.755, "f1": 0.755, "a7": 0.351, "mae": 0.997, "corr": 0.653},
    "rmfn-r2": {"a2": 0.764, "f1": 0.764, "a7": 0.345, "mae": 0.967, "corr": 0.642},
    "rmfn-r3": {"a2": 0.784, "f1": 0.780, "a7": 0.383, "mae": 0.922, "corr": 0.681},
    "rmfn-r4": {"a2": 0.760, "f1": 0.760, "a7": 0.360, "mae": 0.999, "corr": 0.640},
    "rmfn-no-mfp": {"a2": 0.765, "f1": 0.765, "a7": 0.308, "mae": 0.998, "corr": 0.582},
    "rmfn-no-highlight": {"a2": 0.779, "f1": 0.779, "a7": 0.359, "mae": 0.952, "corr": 0.666},
    "marn": {"a2": 0.771, "f1": 0.770, "a7": 0.347, "mae": 0.968, "corr": 0.625},
}
PAPER = "CMU-MOSI's test split, GloVe, Facet and COVAREP features"


def choose_systems(asked: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    """Names, with those of groups in a group's place, each once.

    Parameters
    ----------
    asked : names of systems or of ``GROUPS``.
    known : the systems that there are; "all" is also those of them that no table of the paper has.

    Raises
    ------
    ValueError : none of both, or nothing is asked for.
    """
    chosen: list[str] = []
    for name in asked:
        if name == "all":
            chosen += [*TITLES, *known]
        elif name in GROUPS:
            chosen += GROUPS[name]
        elif name in known:
            chosen.append(name)
        else:
            raise ValueError(
                f"there is no system {name!r}; there are {', '.join(known)}, and the groups "
                f"{', '.join(GROUPS)}"
            )
    if not chosen:
        raise ValueError("say at least one system")
    return tuple(name for name in dict.fromkeys(chosen) if name in known)
