"""Packages import to the left only, and light ones stay light."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

ORDER = ("extractors", "pipeline", "rmfn", "flows")
HEAVY = ("torch", "prefect", "cv2", "librosa", "mediapipe", "whisperx", "transformers", "gensim")


def imported(tree: ast.AST) -> set[str]:
    """Top-level names of all that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", ORDER)
def test_imports_go_left(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    right = set(ORDER[ORDER.index(package) + 1 :])
    if package != "flows":
        right.add("prefect")
    wrong = {
        str(file.relative_to(ROOT)): sorted(found)
        for file in files
        if (found := imported(ast.parse(file.read_text())) & right)
    }
    assert not wrong


@pytest.mark.parametrize("module", ["extractors", "pipeline", "pipeline.process", "flows.cli"])
def test_light_modules_load_nothing_heavy(module):
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert loaded.stdout.split() == []


def test_a_recipe_is_read_without_its_libraries():
    code = (
        "import sys; from pipeline.recipe import load_recipe; load_recipe('embedded').provenance; "
        f"print(*[name for name in {(*HEAVY, 'scipy', 'pocketsphinx')!r} if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert loaded.stdout.split() == []
