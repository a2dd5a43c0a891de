"""`xraycls sweep`."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xraycls.cli.options import JsonOption
from xraycls.errors import UsageError, unknown

if TYPE_CHECKING:
    from rich.table import Table

    from xraycls.workflows.sweep.folder import Trial

_COMMANDS = {"train": ("train",), "unet": ("unet", "train"), "detector": ("detector", "train")}
# Parameters of a trainer that the sweep decides itself.
_OF_THE_SWEEP = {"output": "--output", "resume": "--resume", "gpus": "--gpus", "folds": "--folds", "key": "--key"}


def sweep(
    context: typer.Context,
    trainer: Annotated[
        str,
        typer.Argument(metavar="TRAINER|SWEEP", help="train, unet or detector; or a sweep's folder or YAML file."),
    ],
    over: Annotated[
        list[str] | None,
        typer.Option("--over", metavar="NAME=VALUES", help="What varies: optimizer=adam,sgd or lr=log:1e-5..1e-2."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="[VALUE:]NAME=VALUE", help="A setting of all trials, or of those with a value."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder of the sweep; runs/sweep-<trainer>-<date> by default.")
    ] = None,
    search: Annotated[
        Literal["grid", "random", "tpe"] | None,
        typer.Option(help="grid, random or tpe; random where there are ranges, else grid.", show_default=False),
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many, of random and tpe.")] = None,
    search_seed: Annotated[int | None, typer.Option(min=0, help="Of random and tpe.")] = None,
    halving: Annotated[
        int | None, typer.Option(min=2, help="Give up all but the best 1/N of the trials at each rung.")
    ] = None,
    grace: Annotated[
        int | None, typer.Option(min=1, help="Epochs before the first rung; a fifth of all by default, at least 3.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Trials at a time, a GPU or a share of the processors each.")] = 1,
    backend: Annotated[
        str, typer.Option(help="local, or ray: the cluster of RAY_ADDRESS, else one on this machine.")
    ] = "local",
    as_json: JsonOption = False,
) -> None:
    """Train once for each combination of settings, and compare the trainings.

    All other flags are those of the trainer: xraycls sweep unet --data films --size 256 --over optimizer=adam,sgd.
    Run again with the same --output, or with the folder alone, a sweep goes on where it stopped.
    """
    base, when = _settings(settings or ())
    for name, value in _of_trainer(context, trainer).items():
        if name in base and base[name] != value:
            raise UsageError(
                f"--{name.replace('_', '-')} and --set {name}=… don't go together", "Leave out one of them"
            )
        base[name] = value
    from xraycls.workflows.sweep.run import sweep as run_sweep

    with _Display() as display:
        done = run_sweep(
            trainer,
            dict(_named(text, "--over") for text in over or ()) or None,
            when=when or None,
            output=output,
            search=search,
            trials=trials,
            search_seed=search_seed,
            halving=halving,
            grace=grace,
            workers=workers,
            backend=backend,
            watch=display.show,
            **base,
        )
    if as_json:
        print(json.dumps({"sweep": str(done.folder), "trials": [_facts(trial) for trial in done.trials]}))
        return
    from xraycls.cli.invocation import print_table

    print_table(table_of(done.trials, done.monitor))
    for reason in dict.fromkeys(trial.reason for trial in done.trials if trial.reason):
        failed = [trial.name for trial in done.trials if trial.reason == reason]
        typer.echo(f"{', '.join(failed)} failed: {reason}", err=True)
    if done.best:
        print(f"Best: {done.best.name}, {done.monitor} {done.best.best:.4g} after epoch {done.best.best_epoch}.")
        print(f"Its run folder: {done.best.folder}")
    print(f"Report: {done.folder / 'report.html'}. All curves: tensorboard --logdir {done.folder / 'trials'}")
    if done.best:
        words = ["xraycls", *_COMMANDS[done.best.command[0]][:-1]]
        verb = "test" if words == ["xraycls"] else "evaluate"
        print(f"Next: {shlex.join([*words, verb, str(done.best.folder)])}")


def _settings(given: Sequence[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The settings of ``--set``: of all trials, and of those with a value."""
    from xraycls.workflows.sweep.space import parse_value

    base: dict[str, Any] = {}
    when: dict[str, dict[str, Any]] = {}
    for text in given:
        condition, colon, rest = text.partition(":")
        # A colon after the first "=" is of the value, unless what follows it is a setting: optimizer=adagrad:lr=0.1.
        conditional = bool(colon) and "=" in rest and (condition.count("=") <= 1)
        name, value = _named(rest if conditional else text, "--set")
        target = when.setdefault(condition, {}) if conditional else base
        target[name] = parse_value(name, value)
    return base, when


def _named(text: str, flag: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise UsageError(f"{flag} {text} names no value", f"Write it as {flag} optimizer=adam")
    return name.strip(), value.strip()


def _of_trainer(context: typer.Context, trainer: str) -> dict[str, Any]:
    """The trainer's own flags, read by its own command; paths as text."""
    if trainer not in _COMMANDS:
        if not Path(trainer).exists():
            raise unknown("trainer", trainer, _COMMANDS)
        if context.args:
            raise UsageError(f"{context.args[0]} is a flag of a trainer, and {trainer} is a sweep", "Leave it out")
        return {}
    command: Any = context.find_root().command
    for word in _COMMANDS[trainer]:
        command = command.get_command(context, word)
    with command.make_context(trainer, list(context.args)) as inner:
        given = {
            name: value
            for name, value in inner.params.items()
            if getattr(inner.get_parameter_source(name), "name", "") == "COMMANDLINE"
        }
    for name, flag in _OF_THE_SWEEP.items():
        if name in given:
            raise UsageError(f"{flag} has no meaning for the trials of a sweep", "Leave it out")
    return _plain(trainer, given)


def _plain(trainer: str, given: dict[str, Any]) -> dict[str, Any]:
    """Flags as settings: an argument is --data, --dali a loader, and a classifier's --config the settings in it."""
    if given.pop("dali", False):
        given["loader"] = "dali"
    if (source := given.pop("source", None)) is not None:
        given["data"] = source
    if given.pop("colab", False) or given.pop("as_json", False):
        raise UsageError("--colab is for a single training", "Name a folder below your Drive with --output")
    if trainer == "train" and (config := given.pop("config", None)):
        from xraycls.training.config import read_config

        given = {**read_config(config), **given}
    return {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}


def table_of(trials: Sequence[Trial], monitor: str) -> Table:
    """Returns a row a trial: its settings, where it stands and its best value."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("trial", "state", "epochs", monitor, "seconds"):
        table.add_column(title, justify="right" if title in ("epochs", monitor, "seconds") else "left")
    for trial in trials:
        best = "" if math.isnan(trial.best) else f"{trial.best:.4g}"
        table.add_row(trial.name, trial.state, str(len(trial.curve) or ""), best, f"{trial.seconds:.1f}")
    return table


def _facts(trial: Trial) -> dict[str, Any]:
    return {
        "name": trial.name,
        "values": dict(trial.values),
        "state": trial.state,
        "epochs": len(trial.curve),
        "best": None if math.isnan(trial.best) else trial.best,
        "best_epoch": trial.best_epoch or None,
        "reason": trial.reason or None,
        "folder": str(trial.folder),
    }


class _Display:
    """The table of trials on a terminal while they run; elsewhere a line whenever one has come further."""

    def __init__(self) -> None:
        from rich.live import Live

        from xraycls.progress import default_console

        self.console = default_console()
        self.live = Live(console=self.console, transient=True, auto_refresh=False)
        self.before: dict[str, tuple[str, int]] = {}

    def __enter__(self) -> _Display:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def show(self, trials: Sequence[Trial]) -> None:
        """Draw the table anew, or print the trials that have changed."""
        if self.console.is_terminal:
            self.live.update(table_of(trials, "best"), refresh=True)
            return
        for trial in trials:
            now = (trial.state, len(trial.curve))
            if self.before.get(trial.name, ("waiting", 0)) != now:
                value = "" if math.isnan(trial.best) else f"  best {trial.best:.4g}"
                self.console.print(f"{trial.name}  {trial.state}  epoch {now[1]}{value}", soft_wrap=True)
            self.before[trial.name] = now
