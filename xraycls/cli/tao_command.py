"""Commands as TAO's launcher runs them: with its flags, its lists of values and its last line."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from xraycls.cli.abbreviations import AbbreviatedCommand, spelt_out
from xraycls.cli.invocation import invocation_of, tell_error
from xraycls.cli.tao_options import EXTRA, MACHINE
from xraycls.errors import UsageError, XrayclsError
from xraycls.progress import printable

logger = logging.getLogger(__name__)

_PANEL = "TAO's launcher"
_MEANINGLESS = ("num_processes", "multi_node", "mpirun_arg", "launch_cuda_blocking")


@dataclass(frozen=True, slots=True)
class Launcher:
    """What every command of TAO's launcher can be asked for.

    Attributes:
        gpus: processes, one a GPU.
        use_amp: compute with half the bits where that is safe.
    """

    gpus: int
    use_amp: bool


def launcher_of(context: typer.Context) -> Launcher:
    """What the launcher of a :class:`TaoCommand` was asked for."""
    launcher: Launcher = context.meta[__name__]
    return launcher


def program_of(context: typer.Context) -> str:
    """Returns the program that a verb belongs to, as the command line names it: "ssd", or its alias "dssd"."""
    assert context.parent is not None  # every verb is in the group of a network
    assert context.parent.info_name is not None
    return context.parent.info_name


def say_ignored(context: typer.Context, *names: str) -> None:
    """Name the flags that were given and change nothing here, in one line: those of the launcher, and these.

    Args:
        context: of a :class:`TaoCommand`.
        names: of parameters.
    """
    named = [p for p in context.command.params if p.name in (*_MEANINGLESS, *names)]
    given = [p for p in named if _is_given(context, p)]
    if given:
        logger.info("Without meaning here, and ignored: %s.", ", ".join(max(p.opts, key=len) for p in given))


class _Lists(TyperCommand):
    """A command whose repeatable options take several values in a row, as argparse's do: ``-el a b``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        repeatable = {name for p in self.get_params(ctx) if getattr(p, "multiple", False) for name in p.opts}
        return super().parse_args(ctx, repeated(args, repeatable))


class TaoCommand(AbbreviatedCommand, _Lists):
    """A command with the launcher's flags, which ends with ``Execution status: PASS`` or ``FAIL``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *_LAUNCHER_OPTIONS]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Spell out what is short for a flag of TAO, even where it could be short for one of ours; then as usual."""
        taos = [p for p in self.get_params(ctx) if getattr(p, "rich_help_panel", None) not in (EXTRA, MACHINE)]
        names = [next((name for name in p.opts if name.startswith("--")), "") for p in taos]
        return super().parse_args(ctx, spelt_out(args, [[name] for name in names if name]))

    def invoke(self, ctx: Any) -> Any:
        """Run the command as the launcher's flags say, and tell how it ended."""
        asked = {option.name: ctx.params.pop(option.name) for option in _LAUNCHER_OPTIONS}
        ctx.meta[__name__] = Launcher(asked["gpus"], asked["use_amp"])
        if asked["gpu_index"]:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, asked["gpu_index"]))
        code: int | None = None
        with ExitStack() as output:
            try:
                output.enter_context(_copied_to(asked["log_file"]))
                _check_filled(ctx, self.params)
                super().invoke(ctx)
                code = 0
            except typer.Exit as end:
                code = end.exit_code
            except XrayclsError as error:
                if invocation_of(ctx).debug:
                    raise
                tell_error(error)
                code = error.exit_code
            finally:
                if "WORLD_SIZE" not in os.environ:  # the one that started several processes speaks for them
                    print(f"Execution status: {'PASS' if code == 0 else 'FAIL'}", flush=True)
            raise typer.Exit(code)


def _check_filled(ctx: Any, parameters: list[Any]) -> None:
    """Refuse a flag without anything in it, as a variable of the shell that isn't set leaves it; a key may be empty."""
    for each in parameters:
        if ctx.params.get(each.name) == "" and each.name != "key" and _is_given(ctx, each):
            flag = min(each.opts, key=len)
            raise UsageError(f"{flag} is empty", f"Give it a value{'' if each.required else f' or leave {flag} out'}")


def _is_given(ctx: Any, parameter: Any) -> bool:
    return getattr(ctx.get_parameter_source(parameter.name or ""), "name", "") == "COMMANDLINE"


def repeated(arguments: list[str], names: Collection[str]) -> list[str]:
    """Arguments with the name of an option before each of its values: ``-el a b`` becomes ``-el a -el b``.

    Args:
        arguments: of a command that takes options alone.
        names: of the options that take several values.
    """
    found: list[str] = []
    option, has_value = "", False
    for argument in arguments:
        if argument.startswith("-"):
            option, has_value = argument if argument in names else "", False
        elif option and has_value:
            found.append(option)
        else:
            has_value = True
        found.append(argument)
    return found


class _Both:
    """A stream that writes to a file as well; not a terminal, so that progress is told in lines."""

    def __init__(self, stream: IO[str], file: IO[str]) -> None:
        self.stream, self.file = stream, file

    @property
    def rich_proxied_file(self) -> _Both:
        """Itself: not the terminal behind, which consoles of rich would look for."""
        return self

    def write(self, text: str) -> int:
        self.file.write(printable(text))
        return self.stream.write(text)

    def flush(self) -> None:
        self.file.flush()
        self.stream.flush()

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def _copied_to(log_file: str) -> Iterator[None]:
    """Append all that is printed to a file, too; "stdout" is none. Of several processes the first one writes."""
    if log_file == "stdout" or os.environ.get("RANK", "0") != "0":
        yield
        return
    path = Path(log_file)
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("a", encoding="utf-8", buffering=1))
        except OSError as error:
            raise UsageError(f"--log-file {path} could not be written: {error.strerror}") from error
        stack.enter_context(redirect_stdout(_Both(sys.stdout, file)))
        stack.enter_context(redirect_stderr(_Both(sys.stderr, file)))
        yield


def _launcher(
    gpus: Annotated[int, typer.Option("--gpus", min=1, help="Processes, one a GPU.", rich_help_panel=_PANEL)] = 1,
    gpu_index: Annotated[
        list[int] | None, typer.Option("--gpu-index", help="The GPUs to use, by number.", rich_help_panel=_PANEL)
    ] = None,
    use_amp: Annotated[
        bool, typer.Option("--use-amp", help="Half precision where it is safe.", rich_help_panel=_PANEL)
    ] = False,
    log_file: Annotated[
        str, typer.Option("--log-file", help="File that all output is copied to.", rich_help_panel=_PANEL)
    ] = "stdout",
    num_processes: Annotated[int, typer.Option("--num-processes", "-np", hidden=True)] = -1,
    multi_node: Annotated[bool, typer.Option("--multi-node", hidden=True)] = False,
    mpirun_arg: Annotated[str, typer.Option("--mpirun-arg", hidden=True)] = "",
    launch_cuda_blocking: Annotated[bool, typer.Option("--launch-cuda-blocking", hidden=True)] = False,
) -> None:
    """For its options, which every :class:`TaoCommand` has."""


_app = typer.Typer(add_completion=False)
_app.command()(_launcher)
_LAUNCHER_OPTIONS = get_command(_app).params
