"""Every command shows in its help how it is typed."""

import shlex

import pytest
import typer

from xraycls.cli.app import app, main
from xraycls.cli.examples import examples_of


def commands(node, path=()):
    if node.hidden:
        return
    if not hasattr(node, "commands"):
        yield pytest.param(path, node, id=" ".join(path))
        return
    for name, child in node.commands.items():
        yield from commands(child, (*path, name))


@pytest.mark.parametrize(("path", "command"), list(commands(typer.main.get_command(app))))
def test_every_command_has_an_example_that_it_accepts(path, command):
    examples = examples_of(" ".join(path))
    assert examples, f"xraycls {' '.join(path)} has no example in xraycls/cli/examples.py"
    for example in examples:
        assert example in command.epilog
        program, *words = shlex.split(example)
        assert (program, *words[: len(path)]) == ("xraycls", *path)
        context = command.make_context(path[-1], words[len(path) :])  # raises where a flag or value is wrong
        context.close()


@pytest.mark.parametrize("arguments", ["train", "data convert", "ssd train"])
def test_the_example_is_on_the_screen(arguments, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit):
        main([*arguments.split(), "--help"])
    shown = capsys.readouterr().out
    assert "Example" in shown
    assert examples_of(arguments)[0][:60] in shown
