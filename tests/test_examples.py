"""The examples in docstrings run, one after the other as a reader would run them, and say what they print."""

import doctest
import shutil
from importlib import import_module
from inspect import isfunction, unwrap
from pathlib import Path

import pytest

import xraycls
from xraycls.data.phantom import write_phantom

PACKAGE = Path(xraycls.__file__).parent
FIRST = ("xraycls.data.phantom.write", "xraycls.workflows.train", "xraycls.workflows.detection.train")
"""Their examples make what the others start from: ``phantom``, ``runs/first`` and ``runs/detector``."""


def with_examples() -> list[str]:
    """Returns the modules whose text holds a prompt, by their dotted names."""
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text()]
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names]


def run_examples(module: str) -> None:
    """Run the examples of a module; fails with what was expected and what was printed."""
    said: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder(exclude_empty=True).find(import_module(module)):
        runner.run(test, out=said.append)
    assert runner.tries, f"{module} has a prompt outside of docstrings only"
    assert not runner.failures, "".join(said)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the examples run, with a phantom, films with boxes, two trained runs and a picture."""
    path = tmp_path_factory.mktemp("examples")
    write_phantom(path / "films", images=16, size=80, layout="siim")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        for module in FIRST:
            run_examples(module)
    shutil.copy(next((path / "phantom").rglob("*.jpeg")), path / "film.jpeg")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("module", sorted({*with_examples()} - {*FIRST}))
def test_examples_print_what_they_say(module, folder, monkeypatch):
    monkeypatch.chdir(folder)
    run_examples(module)


@pytest.mark.parametrize("name", [name for name in xraycls.__all__ if isfunction(getattr(xraycls, name))])
def test_every_public_function_has_an_example(name):
    assert ">>> " in (unwrap(getattr(xraycls, name)).__doc__ or "")


def test_an_example_that_prints_something_else_fails(tmp_path, monkeypatch):
    (tmp_path / "wrong_example.py").write_text('"""Adds.\n\n>>> 1 + 1\n3\n"""\n')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AssertionError, match=r"Expected:\s+3\s+Got:\s+2"):
        run_examples("wrong_example")
