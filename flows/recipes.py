"""The commands about recipes: what one needs and whether it is here, and what it says."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from flows.arguments import explain

DOCTOR_TEXT = """\
examples:
  rmfn doctor                                 is this machine ready for the recipe embedded?
  rmfn doctor --recipe paper                  what is missing for the paper's, and what mends it
  rmfn doctor --recipe mine.toml --json -     the same for programs

Looked at is what the recipe needs and nothing else: packages and whether their versions go
together, libraries of the system, every model with size, licence, hash and where it was looked for;
then cores, memory, disk, graphics, and Prefect's server if PREFECT_API_URL names one.

exit status: 0 all is well; 1 something is missing or wrong; 2 there is no such recipe.
"""

WEIGHTS_TEXT = """\
examples:
  rmfn weights list paper       every model of the recipe: where it is, or where it would come from
  rmfn weights fetch paper      downloads those that are missing, checks their hashes, and makes of
                                word vectors what opens fast
  rmfn weights fetch mine.toml

Nothing else in this project downloads anything. Models come from the Hugging Face hub into its
cache (HF_HOME), where other tools find them, too; a download that broke goes on where it stopped.
Every file is compared with the hash that this project or the hub knows, also those that were there
already; what differs is removed. A hub elsewhere, with the same interface, is named by HF_ENDPOINT.

exit status: 0 every model of the recipe is here; 1 one could not be had; 2 there is no such recipe.
"""


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    doctor = command("doctor", _doctor, "say what this machine has and lacks for a recipe")
    explain(doctor, DOCTOR_TEXT)
    doctor.add_argument(
        "--recipe",
        default="embedded",
        metavar="NAME|FILE.toml",
        help="how features are made (default: embedded)",
    )
    doctor.add_argument("--json", metavar="FILE", help="write the table here; - for stdout")

    weights = command("weights", _weights, "list the models of a recipe, or fetch what is missing")
    explain(weights, WEIGHTS_TEXT)
    weights.add_argument("action", choices=["list", "fetch"])
    weights.add_argument("recipe", metavar="RECIPE", help="a recipe's name or file")
    weights.add_argument("--json", metavar="FILE", help="write the table here; - for stdout")


def _doctor(options: argparse.Namespace) -> int:
    from flows.arguments import wrote_json
    from flows.doctor import examine
    from pipeline.recipe import load_recipe

    lines = examine(load_recipe(options.recipe), options.recipe)
    if options.json != "-":
        show_lines(f"the recipe {options.recipe} on this machine", lines)
    wrote_json(options.json, lines)
    return int(any(line["state"] != "ok" for line in lines))


def _weights(options: argparse.Namespace) -> int:
    from flows.arguments import wrote_json
    from flows.doctor import examine_models
    from flows.fetch import fetch_models
    from pipeline.recipe import load_recipe

    recipe = load_recipe(options.recipe)
    if options.action == "fetch":
        fetch_models(recipe)
    lines = examine_models(recipe, options.recipe)
    if options.json != "-":
        show_lines(f"models of the recipe {options.recipe}", lines)
    wrote_json(options.json, lines)
    return int(any(line["state"] != "ok" for line in lines))


def show_lines(title: str, lines: list[dict[str, Any]]) -> None:
    """The doctor's table, and under it what mends what, on lines that can be copied whole."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from flows.display import results
    from flows.doctor import list_mends

    styles = {"ok": "green", "missing": "yellow", "wrong": "red"}
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("what", overflow="fold")
    table.add_column("found", overflow="fold")
    for line in lines:
        state = Text(line["state"], style=styles[line["state"]])
        table.add_row(state, Text(line["what"]), Text(line["found"]))
    results.print(table)
    for mend, mended in list_mends(lines).items():
        results.print(Text(f"to mend {', '.join(mended)}:"), soft_wrap=True)
        results.print(Text(f"  {mend}", style="bold"), soft_wrap=True)
    bad = sum(line["state"] != "ok" for line in lines)
    results.print(f"{bad} of {len(lines)} missing or wrong" if bad else "all is well")
