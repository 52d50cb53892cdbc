"""The commands about recipes: what one needs and whether it is here, and what it says."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from flows.arguments import add_json, add_recipe, explain

DOCTOR_TEXT = """\
examples:
  rmfn doctor                                 is this machine ready for the recipe embedded?
  rmfn doctor --recipe paper                  what is missing for the paper's, and what mends it
  rmfn doctor --recipe mine.toml --json -     the same for programs

It looks at what the recipe needs and nothing else: packages and whether their versions go
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


RECIPE_TEXT = """\
examples:
  rmfn recipe show embedded             every setting, what it means, and what a change costs
  rmfn recipe diff embedded paper       what differs, and which stages are made anew
  rmfn recipe diff embedded mine.toml --json -

Stages are what a store keeps: words (recognised and aligned), the visual and the acoustic track,
and the rows made of them, language and timing included.
"""


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    doctor = command("doctor", _doctor, "say what this machine has and lacks for a recipe")
    explain(doctor, DOCTOR_TEXT)
    add_recipe(doctor)
    add_json(doctor, "write the table here")

    weights = command("weights", _weights, "list the models of a recipe, or fetch what is missing")
    explain(weights, WEIGHTS_TEXT)
    weights.add_argument("action", choices=["list", "fetch"])
    weights.add_argument("recipe", metavar="RECIPE", help="a recipe's name or file")
    add_json(weights, "write the table here")

    recipe = command("recipe", _recipe, "show a recipe, or how two differ")
    explain(recipe, RECIPE_TEXT)
    recipe.add_argument("action", choices=["show", "diff"])
    recipe.add_argument(
        "recipes", nargs="+", metavar="RECIPE", help="a recipe's name or file; two to compare"
    )
    add_json(recipe, "write the table here")


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


def _recipe(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from flows.arguments import wrote_json
    from pipeline.recipe import load_recipe
    from pipeline.settings import compare_recipes, list_settings, list_stages

    expected = {"show": 1, "diff": 2}[options.action]
    if len(options.recipes) != expected:
        names = "one recipe" if expected == 1 else "two recipes"
        raise ValueError(
            f"rmfn recipe {options.action} takes {names}, got {len(options.recipes)}: "
            f"{' '.join(options.recipes)}"
        )
    made = [load_recipe(name) for name in options.recipes]
    if options.action == "show":
        settings = list_settings(made[0])
        record: Any = [asdict(setting) for setting in settings]
        if options.json != "-":
            _show_settings(settings)
    else:
        differences = compare_recipes(*made)
        anew = list_stages(differences)
        record = {"differences": [asdict(found) for found in differences], "made_anew": anew}
        if options.json != "-":
            _show_differences(options.recipes, differences, anew)
    wrote_json(options.json, record)
    return 0


def _show_settings(settings: list[Any]) -> None:
    """A table a backend."""
    from itertools import groupby

    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from flows.display import results

    for (place, backend), part in groupby(settings, lambda one: (one.place, one.backend)):
        lines = list(part)
        if not place:
            results.print(Text(f"recipe {lines[0].value}", style="bold"))
            continue
        stages = ", ".join(next((one.stages for one in lines if one.stages), ())) or "nothing"
        title = Text(f"{place}: {backend}", style="bold")
        title.append(f" (a change makes anew: {stages})", style="dim")
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        table.add_column(no_wrap=True, style="dim")
        table.add_column(ratio=1)
        for one in lines:
            free = "" if one.stages else " (changes no number)"
            table.add_row(one.name, Text(_write(one.value)), one.origin, Text(one.meaning + free))
        results.print(title)
        results.print(table)


def _show_differences(names: list[str], differences: list[Any], anew: tuple[str, ...]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from flows.display import results

    if not differences:
        results.print("no difference: every stage that is stored is found again")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "", *names, "made anew"):
        table.add_column(Text(heading), overflow="fold")
    for found in differences:
        cells = [found.place, found.name, _write(found.before), _write(found.after)]
        table.add_row(*map(Text, cells), ", ".join(found.stages) or "nothing")
    results.print(table)
    results.print(f"made anew: {', '.join(anew) or 'nothing, all numbers stay the same'}")


def _write(value: Any) -> str:
    """As TOML has it, where TOML has it."""
    if value is None:
        return "not set"
    return str(value).lower() if isinstance(value, bool) else str(value)


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
        table.add_row(state, Text(line["what"]), Text(line["found"].replace("; ", "\n")))
    results.print(table)
    for mend, mended in list_mends(lines).items():
        results.print(Text(f"to mend {', '.join(mended)}:"), soft_wrap=True)
        results.print(Text(f"  {mend}", style="bold"), soft_wrap=True)
    bad = sum(line["state"] != "ok" for line in lines)
    results.print(f"{bad} of {len(lines)} missing or wrong" if bad else "all is well")
