"""What a batch leaves in its store for people and other programs: a report and the predictions."""

from __future__ import annotations

from typing import Any

from pipeline.records import spell, write_json
from pipeline.store import Store
from pipeline.whole import write_whole

REPORT, PREDICTIONS = "report.json", "predictions"


def write_batch(store: Store, report: dict[str, Any], pages: str | None = None) -> list[str]:
    """Write ``report.json`` and, where there was a model, ``predictions.csv`` and ``.parquet``.

    Parameters
    ----------
    pages : the folder of the clips' pages, which gets an ``index.html``.

    Returns
    -------
    The names of the files. Each appears whole or not at all, and replaces that of the last batch.

    Raises
    ------
    OSError : a file cannot be written.
    """
    from pyarrow import csv, parquet

    write_json(store.folder / REPORT, report)
    if pages is not None:
        from rmfn.pages.folder import write_index

        write_index(pages, report)
    if report["model"] is None:
        return [REPORT]
    table = tabulate_predictions(report["clips"])
    names = [f"{PREDICTIONS}.csv", f"{PREDICTIONS}.parquet"]
    write_whole(store.folder / names[0], lambda file: csv.write_csv(table, file))
    write_whole(store.folder / names[1], lambda file: parquet.write_table(table, file))
    return [REPORT, *names]


def tabulate_predictions(clips: list[dict[str, Any]]) -> Any:
    """A row an utterance, counted from 0, and before them one for the clip as a whole (it has no
    number).

    Returns
    -------
    A pyarrow table: ``path``, ``id``, ``utterance``, ``start``, ``end`` [s], ``text``, and for each
    label its value, and ``<label>.low``, ``.high`` or a probability a class, ``<label>.<class>``.
    """
    import pyarrow as pa

    rows = []
    for clip in clips:
        if clip["status"] == "failed":
            continue
        named = {"path": spell(clip["path"]), "id": clip["id"]}
        whole = {"utterance": None, "start": 0.0, "end": clip["duration"], "text": None}
        rows.append({**named, **whole, **_spread(clip["overall"])})
        for number, said in enumerate(clip["utterances"]):
            part = {"utterance": number, **{name: said[name] for name in ("start", "end", "text")}}
            rows.append({**named, **part, **_spread(said["prediction"])})
    fixed = {
        **{"path": pa.string(), "id": pa.string(), "utterance": pa.int64()},
        **{"start": pa.float64(), "end": pa.float64(), "text": pa.string()},
    }
    labels = {name: value for row in rows for name, value in row.items() if name not in fixed}
    spread = {
        name: pa.string() if isinstance(value, str) else pa.float64()
        for name, value in labels.items()
    }
    return pa.Table.from_pylist(rows, schema=pa.schema({**fixed, **spread}.items()))


def _spread(prediction: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Each label's value and how sure it is, as columns."""
    columns: dict[str, Any] = {}
    for label, found in prediction.items():
        columns[label] = found["value"]
        if "probabilities" in found:
            shares = found["probabilities"].items()
            columns |= {f"{label}.{name}": share for name, share in shares}
        else:
            columns[f"{label}.low"], columns[f"{label}.high"] = found["interval"]
    return columns
