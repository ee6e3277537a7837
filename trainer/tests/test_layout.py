"""The layout of the package: no module imports itself over others, and packages import to the left only."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "finetune_trainer"
# A package may import itself and those before it; modules at the top (`__main__`, doctor) may import every one.
ORDER = ["protocol", "spec", "data", "model", "distributed", "training", "evaluation", "export", "serving", "launch"]
TOP = "top"


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(root: Path) -> dict[str, set[str]]:
    """What every module imports of the package, late and type-checking imports included; "" is the package itself."""
    paths = {module_name(path, root): path for path in root.rglob("*.py")}
    found: dict[str, set[str]] = {}
    for name, path in paths.items():
        package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        package = [part for part in package if part]
        targets = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                named = [(alias.name, None) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else None
                start = ".".join(["finetune_trainer", *base] if base is not None else [])
                whole = ".".join(filter(None, [start, node.module]))
                named = [(whole, alias.name) for alias in node.names]
            else:
                continue
            for whole, member in named:
                if whole.split(".")[0] != "finetune_trainer":
                    continue
                inner = whole.partition(".")[2]
                deeper = f"{inner}.{member}".lstrip(".")
                targets.add(deeper if member and deeper in paths else inner)
        assert targets <= paths.keys(), f"{name} imports {targets - paths.keys()}, which are not there"
        found[name] = targets - {name}
    return found


def cycle(graph: dict[str, set[str]]) -> list[str] | None:
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return error.args[1]
    return None


def package_of(name: str) -> str:
    first, _, rest = name.partition(".")
    return first if rest or first in ORDER else TOP


def against_the_order(graph: dict[str, set[str]]) -> list[str]:
    """Imports that go to the right, as `from -> to`. The package itself holds two constants and imports nothing."""
    rank = {name: place for place, name in enumerate([*ORDER, TOP])}
    return [
        f"{name} -> {target}"
        for name, targets in graph.items()
        for target in targets
        if target and rank[package_of(target)] > rank[package_of(name)]
    ]


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    return imports(PACKAGE)


def test_every_module_is_in_a_package_of_the_order(graph):
    assert {package_of(name) for name in graph} == {*ORDER, TOP}
    assert {name for name in graph if package_of(name) == TOP} == {"", "__main__", "doctor"}
    assert not graph[""]


def test_there_is_no_import_cycle(graph):
    assert cycle(graph) is None


def test_packages_import_only_packages_before_them(graph):
    assert against_the_order(graph) == []


def test_a_cycle_and_a_wrong_order_are_found(tmp_path):
    """Late imports, type-checking imports and imports of whole modules count."""
    for name, text in {
        "__init__.py": "",
        "spec/__init__.py": "",
        "spec/models.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..data.rows import Row\n",
        "data/__init__.py": "",
        "data/rows.py": "def late():\n    from ..spec import models\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = imports(tmp_path)
    assert found["spec.models"] == {"data.rows"} and found["data.rows"] == {"spec.models"}
    assert set(cycle(found)) == {"spec.models", "data.rows"}
    assert against_the_order(found) == ["spec.models -> data.rows"]
