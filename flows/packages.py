"""The packages' part of what the doctor says: there, once each, in versions that go together."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import Distribution, distributions

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from flows.machine import Line, line

OURS = "rmfn"
# What others ask for and we do without, as requirements.overrides.txt says and why.
OVERRIDDEN = {"torchcodec", "opencv-python", "opencv-contrib-python"}
# Distributions that write into one and the same folder: of these one may be there.
SAME_MODULE = {
    "opencv-python-headless": (
        "opencv-python",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ),
}

Installed = Mapping[str, list[Distribution]]


def list_installed(path: Sequence[str] | None = None) -> Installed:
    """Every distribution on the path by its name, in the order in which Python finds them."""
    found: dict[str, list[Distribution]] = {}
    for distribution in distributions(path=list(sys.path if path is None else path)):
        if name := distribution.metadata["Name"]:
            found.setdefault(canonicalize_name(name), []).append(distribution)
    return found


def examine_presence(names: Sequence[str]) -> list[Line]:
    """The packages that are not there."""
    installed = list_installed()
    none = SpecifierSet()
    return [
        _tell_missing(name, [], none) for name in names if canonicalize_name(name) not in installed
    ]


def examine_packages(names: Sequence[str], installed: Installed | None = None) -> list[Line]:
    """A line for each package, and for each further one that these need and that is missing or has
    a version that one of them does not go with."""
    installed = list_installed() if installed is None else installed
    needed: list[str] = [canonicalize_name(name) for name in names]
    asked = list_demands(needed, installed)
    lines = []
    for name in dict.fromkeys((*needed, *sorted(asked))):
        told = _examine(name, asked.get(name, []), installed)
        if told["state"] != "ok" or name in needed:
            lines.append(told)
    return lines


Demand = tuple[str, SpecifierSet]
"""Who asks ("whisperx 3.8.6"), and for which versions."""


def list_demands(names: Sequence[str], installed: Installed) -> dict[str, list[Demand]]:
    """What the named packages, and those that they need in turn, ask of each other; and what this
    project asks of any of them."""
    asked: dict[str, list[Demand]] = {}
    waiting, seen = [canonicalize_name(name) for name in names], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in installed:
            continue
        seen.add(name)
        for requirement in _list_requirements(installed[name][0]):
            needed = canonicalize_name(requirement.name)
            if needed not in OVERRIDDEN:
                who = f"{name} {installed[name][0].version}"
                asked.setdefault(needed, []).append((who, requirement.specifier))
                waiting.append(needed)
    for ours in installed.get(OURS, ())[:1]:
        for requirement in _list_requirements(ours):
            needed = canonicalize_name(requirement.name)
            if needed in seen or needed in asked:
                asked.setdefault(needed, []).append((OURS, requirement.specifier))
    return asked


def _list_requirements(distribution: Distribution) -> Iterator[Requirement]:
    """Those that hold on this machine, without extras."""
    for text in distribution.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def _examine(name: str, asked: Sequence[Demand], installed: Installed) -> Line:
    copies = installed.get(name, [])
    wanted = SpecifierSet(",".join(str(wanted) for _, wanted in asked if str(wanted)))
    if not copies:
        return _tell_missing(name, [who for who, _ in asked if who != OURS], wanted)
    found = copies[0].version
    if {copy.version for copy in copies} != {found}:
        places = ", ".join(f"{copy.version} in {copy.locate_file('')}" for copy in copies)
        told = f"it is there {len(copies)} times, the first hides the others: {places}"
        return line(name, False, told, f'pip uninstall -y {name} && pip install "{name}{wanted}"')
    for twin in SAME_MODULE.get(name, ()):
        if twin in installed:
            told = f"{found}, but {twin} {installed[twin][0].version} has files of the same names"
            mend = f"pip install --force-reinstall --no-deps {name}=={found}"
            return line(name, False, told, f"pip uninstall -y {twin} && {mend}")
    broken = [f"{who} needs {of}" for who, of in asked if not of.contains(found, prereleases=True)]
    if broken:
        return line(
            name, False, f"{found}, but {'; '.join(broken)}", f'pip install "{name}{wanted}"'
        )
    return line(name, True, found)


def _tell_missing(name: str, wanted_by: Sequence[str], wanted: SpecifierSet) -> Line:
    found = f"not installed; {', '.join(wanted_by)} needs it" if wanted_by else "not installed"
    what = f'"{name}{wanted}"' if wanted else name
    return line(name, None, found, f"pip install {what}")
