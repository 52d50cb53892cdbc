"""Predictions in a few characters, the same in the terminal, in Prefect and on a page."""

from __future__ import annotations

from typing import Any


def describe_value(found: dict[str, Any]) -> str:
    """One prediction in a few characters: a number, a probability, or a class."""
    value = found["value"]
    if isinstance(value, str):
        return value
    return f"{value:.0%}" if "probabilities" in found else f"{value:+.2f}"


def describe_spread(found: dict[str, Any]) -> str:
    """How sure a prediction is: its interval, or what each class has."""
    if "probabilities" in found:
        return ", ".join(f"{name} {share:.0%}" for name, share in found["probabilities"].items())
    return "{:+.2f} to {:+.2f}".format(*found["interval"])
