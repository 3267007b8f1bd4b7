"""The layers of the package, by its imports: allowed directions, and the length of modules."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import seedvideo

PACKAGE = Path(seedvideo.__file__).parent

# Imports run downward, or sideways in one direction. A new package needs a layer here.
LAYERS = (
    ("errors",),
    ("environment", "arguments", "plugins", "utils"),
    ("config", "model_options", "notebook", "remote_options", "validation"),
    ("media",),
    ("remote",),
    ("sampler", "tasks"),
    ("model", "video"),
    ("records",),
    ("clips", "inference", "model_tasks", "pipeline", "writers"),
    (
        *("aio", "api", "batch", "curation", "datasets", "evaluate", "integrations", "training"),
        "seedvideo",
    ),
    ("cli", "__main__"),
)
LAYER_OF = {subpackage: layer for layer, packages in enumerate(LAYERS) for subpackage in packages}

MAX_LINES = 500


class Import(NamedTuple):
    """One import statement: ``source`` names ``target``, both modules of the package."""

    source: str
    target: str
    types_only: bool


def subpackage(module: str) -> str:
    """Return the subpackage of a module; the top-level ``__init__`` counts as ``seedvideo``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


@cache
def module_paths() -> dict[str, Path]:
    paths = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return paths


@cache
def imports() -> tuple[Import, ...]:
    return tuple(
        Import(module, target, types_only)
        for module, path in module_paths().items()
        for target, types_only in imported_by(ast.parse(path.read_text(encoding="utf-8")))
    )


def imported_by(node: ast.AST, *, types_only: bool = False) -> Iterator[tuple[str, bool]]:
    """Modules of the package that the code below a node imports, at its top or in functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            names = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            full_names = [f"{child.module}.{alias.name}" for alias in child.names]
            names = [name if name in module_paths() else str(child.module) for name in full_names]
        else:
            is_guard = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from imported_by(child, types_only=types_only or is_guard)
            continue
        yield from ((name, types_only) for name in names if name.split(".")[0] == "seedvideo")


def assert_no_cycle(edges: set[tuple[str, str]]) -> None:
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for source, target in edges:
        sorter.add(source, target)
    try:
        sorter.prepare()
    except CycleError as error:
        pytest.fail(f"circle of imports: {' <- '.join(error.args[1])}")


def test_every_package_has_a_layer() -> None:
    assert {subpackage(module) for module in module_paths()} - set(LAYER_OF) == set()


def test_imports_name_modules_that_exist() -> None:
    assert [edge for edge in imports() if edge.target not in module_paths()] == []


def test_no_import_runs_upward() -> None:
    upward = [
        f"{edge.source} imports {edge.target}"
        for edge in imports()
        if LAYER_OF[subpackage(edge.source)] < LAYER_OF[subpackage(edge.target)]
    ]
    assert upward == []


def test_packages_have_no_cycle() -> None:
    pairs = {(subpackage(edge.source), subpackage(edge.target)) for edge in imports()}
    assert_no_cycle({(source, target) for source, target in pairs if source != target})


def test_modules_have_no_cycle() -> None:
    # Imports for types alone don't run; two halves of one idea may name each other's types.
    assert_no_cycle({(edge.source, edge.target) for edge in imports() if not edge.types_only})


def test_nothing_imports_training() -> None:
    users = {edge.source for edge in imports() if subpackage(edge.target) == "training"}
    assert {module for module in users if subpackage(module) != "training"} == set()


def test_a_module_with_one_importer_states_a_reason() -> None:
    """A piece of one other module belongs into that module, unless its docstring has a reason."""
    importers: dict[str, set[str]] = {module: set() for module in module_paths()}
    for edge in imports():
        importers[edge.target].add(edge.source)
    silent = [
        module
        for module, path in module_paths().items()
        if len(importers[module]) <= 1
        and path.name not in ("__init__.py", "__main__.py")
        and importers[module] != {"seedvideo.cli"}  # The commands.
        and subpackage(module) != "integrations"  # Programs of users import them.
        and "\nSeparate " not in (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "")
    ]
    assert silent == []


def test_files_stay_short() -> None:
    lengths = {
        module: len(path.read_text(encoding="utf-8").splitlines())
        for module, path in module_paths().items()
    }
    assert {module: lines for module, lines in lengths.items() if lines > MAX_LINES} == {}


def test_public_names_are_complete() -> None:
    tree = ast.parse(module_paths()["seedvideo"].read_text(encoding="utf-8"))
    given = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("seedvideo")
        for alias in node.names
    }
    assert given - set(seedvideo.__all__) == set()
