"""The layer order of DESIGN.md, and what ``edgebuild --help`` may import."""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "edgebuild"
ENTRY_POINTS = {"__init__", "__main__"}
"""The Python API and ``python -m``: they stand above the list, and import inside functions."""

SLOW_AT_IMPORT = {
    "adbutils",
    "ai_edge_litert",
    "ai_edge_quantizer",
    "capstone",
    "keras",
    "litert_quantizer",
    "tensorflow",
    "tflite_micro",
    "unicorn",
}
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "_data" not in path.parts)


@cache
def layers():
    """Return {name: row}, 0 on top, from the list under "## Layers" in DESIGN.md."""
    text = (ROOT / "DESIGN.md").read_text()
    block = re.search(r"^## Layers$.*?^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block, "DESIGN.md has no list under '## Layers'"
    found = {}
    for row, line in enumerate(block[1].splitlines()):
        for name in re.findall(r"\b(\w+)(?:\.py\b|/(?=\s))", line.split("   ")[0] + " "):
            found[name] = row
    return found


def layer_of(module):
    """Return the part of ``edgebuild.<part>...`` that the list names."""
    return module.split(".")[1] if "." in module else "__init__"


def imports_of(path):
    """Yield (line, module) for each import of edgebuild, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "edgebuild":
                    yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write imports from the top"
            if node.module == "edgebuild":
                for alias in node.names:
                    known = (PACKAGE / alias.name).is_dir() or (
                        PACKAGE / f"{alias.name}.py"
                    ).is_file()
                    yield node.lineno, f"edgebuild.{alias.name}" if known else "edgebuild"
            elif node.module and node.module.startswith("edgebuild."):
                yield node.lineno, node.module


def test_every_module_is_in_the_list():
    names = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in SOURCES}
    assert names - ENTRY_POINTS - set(layers()) == set(), "add them to the list in DESIGN.md"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own in ENTRY_POINTS:
        return
    rows = layers()
    upward = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for line, module in imports_of(path)
        # The bare package is only its version, and the API that imports inside functions.
        if (name := layer_of(module)) != "__init__" and name != own and rows[name] < rows[own]
    ]
    assert upward == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_slow_packages_are_imported_inside_functions(path):
    tree = ast.parse(path.read_text())
    inside = {
        id(child)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        or (isinstance(function, ast.If) and "TYPE_CHECKING" in ast.unparse(function.test))
        for child in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in inside:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
    assert {name.split(".")[0] for name in found} & SLOW_AT_IMPORT == set()


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_command_line_prints(path):
    if "cli" in path.relative_to(PACKAGE).parts:
        return
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "click.echo")
    ]
    assert calls == []


def imported_by(*arguments):
    code = (
        "import sys\n"
        "from edgebuild.cli.main import run\n"
        f"code = run({list(arguments)!r})\n"
        "print(code, *sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    code, *modules = done.stderr.split()
    assert code == "0", done.stdout
    return set(modules)


HEAVY = SLOW_AT_IMPORT | {"numpy", "jinja2", "serial", "elftools", "PIL"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["targets", "--help"], ["completion", "bash"]]
)
def test_help_imports_nothing_heavy(arguments):
    assert imported_by(*arguments) & (HEAVY | {"rich"}) == set()


@pytest.mark.parametrize("arguments", [["targets", "list"], ["doctor", "--help"]])
def test_light_commands_import_nothing_heavy(arguments):
    assert imported_by(*arguments) & HEAVY == set()


def test_help_is_fast():
    """Under 0.3 s is the promise. It is the processor's time, as the machine may be busy."""

    def once():
        start = os.times()
        subprocess.run(
            [sys.executable, "-m", "edgebuild", "--help"], capture_output=True, check=True
        )
        end = os.times()
        return end.children_user + end.children_system - start.children_user - start.children_system

    assert min(once() for _ in range(5)) < 0.3
