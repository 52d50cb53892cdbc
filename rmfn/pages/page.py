"""What every page is made of: one template, its style, its scripts, its plots.

A page is a Jinja template in ``templates/`` that extends ``page.html``. Text is escaped by the
template, data by `embed`; a Content-Security-Policy lets exactly the page's own scripts run and
nothing be fetched. Plots are Plotly figures, written as dictionaries; a colour in them may be
``var(--name)``, a custom property of ``page.css``, so that it follows the reader's light or dark.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.records import spell
from pipeline.whole import write_whole

POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
    "media-src 'self' file: data: blob:; base-uri 'none'; form-action 'none'"
)


def render_page(
    template: str,
    title: str,
    *,
    data: Any = None,
    figures: dict[str, Any] | None = None,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    **values: Any,
) -> str:
    """Fill a template.

    Parameters
    ----------
    template : its name in ``templates/``.
    title : of the document.
    data : what the page's scripts read (``page.data``), anything JSON can hold.
    figures : {name: Plotly figure} that the template shows by ``plot(name, ...)``.
    styles, scripts : files of ``templates/`` that come after ``page.css`` and ``page.js``.
    values : for the template.
    """
    # Plotly is only read once a plot comes into view: a page opens before that.
    plotly = read_plotly() if figures is not None else ""
    code = [_read(name) for name in ("page.js", *scripts)]
    return (
        _environment()
        .get_template(template)
        .render(
            title=title,
            policy=POLICY.format(scripts=" ".join(map(_hash, [plotly, *code]))),
            style=Markup("\n".join(_read(name) for name in ("page.css", *styles))),
            data=embed({"data": data, "figures": figures or {}}),
            plotly=Markup(plotly),
            scripts=[Markup(each) for each in code],
            version=version("rmfn"),
            **values,
        )
    )


def write_page(path: str | Path, page: str) -> None:
    """Write it, whole or not at all."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, lambda file: file.write(spell(page).encode()))


def embed(value: Any) -> Markup:
    """JSON that can stand in a script element, whatever text is in it: ``</script>`` has no ``<``.

    The escapes are JSON's own, so the value that is read back is the same.
    """
    text = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def escape_tags(text: str) -> str:
    """Plotly reads some tags in the text of its figures; a word is a word."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _plain(value: Any) -> Any:
    """As JSON has it: lists for arrays and tuples, null for what is undefined."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


@lru_cache(maxsize=1)
def read_plotly() -> str:
    """Plotly's library for browsers, as its Python package carries it."""
    return (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("rmfn.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@lru_cache
def _read(name: str) -> str:
    return (files("rmfn.pages") / "templates" / name).read_text(encoding="utf-8")


def _hash(code: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
