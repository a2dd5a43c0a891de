"""How large the package is and how it hangs together: ``python -m benchmarks.house [CHECKOUT]``.

Counts lines and files of the package and its tests, the median length of a file, files that one sibling alone imports,
and circles of imports, those inside of functions included.
"""

from __future__ import annotations

import argparse
import ast
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

FRAGMENT = 100
"""Lines below which a file that one sibling alone imports counts as a fragment."""


def modules_of(package: Path) -> dict[str, Path]:
    """The files of a package by their dotted names."""
    paths = sorted(package.rglob("*.py"))
    named = {".".join((package.name, *path.relative_to(package).with_suffix("").parts)): path for path in paths}
    return {name.removesuffix(".__init__"): path for name, path in named.items()}


def imported(path: Path, modules: dict[str, Path]) -> set[str]:
    """The modules of the package that a file imports at run time, at its top or in its functions."""
    found: set[str] = set()
    for node in _run_time(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names} & modules.keys()
            found |= names or ({node.module} & modules.keys())
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & modules.keys()
    return found


def _run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from _run_time(node)


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """Strongly connected components of more than one module (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in edges[name]:
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            place = stack.index(name)
            component = set(stack[place:])
            del stack[place:]
            if len(component) > 1:
                found.append(component)

    for name in edges:
        if name not in index:
            visit(name)
    return found


def fragments(modules: dict[str, Path]) -> dict[str, str]:
    """Files under ``FRAGMENT`` lines that one sibling alone imports, and that sibling."""
    importers: dict[str, set[str]] = defaultdict(set)
    for name, path in modules.items():
        for target in imported(path, modules) - {name}:
            importers[target].add(name)
    alone = {name: next(iter(users)) for name, users in importers.items() if len(users) == 1}
    return {
        name: user
        for name, user in sorted(alone.items())
        if name.rpartition(".")[0] == user.rpartition(".")[0] and len(modules[name].read_text().splitlines()) < FRAGMENT
    }


def figures(checkout: Path) -> dict[str, float]:
    """What :func:`main` prints."""
    modules = modules_of(checkout / "xraycls")
    lengths = {name: len(path.read_text().splitlines()) for name, path in modules.items()}
    edges = {name: imported(path, modules) - {name} for name, path in modules.items()}
    tests = [len(path.read_text().splitlines()) for path in (checkout / "tests").rglob("*.py")]
    files = [length for name, length in lengths.items() if modules[name].name != "__init__.py"]
    return {
        "lines of the package": sum(lengths.values()),
        "files of the package": len(files),
        "median lines a file": median(files),
        "longest file": max(files),
        "files under 100 lines that one sibling alone imports": len(fragments(modules)),
        "circles of imports, in functions too": len(circles(edges)),
        "lines of tests": sum(tests),
        "files of tests": len(tests),
    }


def main() -> None:
    """Print the figures as a table, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, nargs="*", default=[Path()])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--fragments", action="store_true", help="list the files that one sibling alone imports")
    arguments = parser.parse_args()
    if arguments.fragments:
        for checkout in arguments.checkout:
            print(
                *(f"{name}  <-  {user}" for name, user in fragments(modules_of(checkout / "xraycls")).items()), sep="\n"
            )
        return
    columns = [figures(checkout) for checkout in arguments.checkout]
    if arguments.json:
        print(json.dumps(columns, indent=2))
        return
    for name in columns[0]:
        print(f"{name:<55}", *(f"{column[name]:>10g}" for column in columns))


if __name__ == "__main__":
    main()
