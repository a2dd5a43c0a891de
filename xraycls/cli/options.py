"""Options that several verbs share."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xraycls.cli.secrets import KEY_VARIABLE, key_of
from xraycls.data.processors import limited_to
from xraycls.errors import UsageError

if TYPE_CHECKING:
    from xraycls.data.shards import ShardDone


def _limited(context: typer.Context, threads: int | None) -> int | None:
    """Keep all pools of a command to ``--threads``."""
    context.with_resource(limited_to(threads))
    return threads


ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run folder, a weights or exported file, or a model's name: its newest run.",
    ),
]
PathsArgument = Annotated[list[Path], typer.Argument(metavar="PATH…", help="Image files and folders of images.")]
KeyOption = Annotated[
    str,
    typer.Option(
        "--key",
        "-k",
        envvar=KEY_VARIABLE,
        callback=lambda text: key_of(text or None),
        help="Models are encrypted with it; $NAME takes a variable's.",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel="Machine")]
PrecisionOption = Annotated[
    str, typer.Option(help="auto, bf16, fp16 or fp32; auto is bf16 where it is fast.", rich_help_panel="Machine")
]
BatchOption = Annotated[int, typer.Option(min=1, help="Images at a time.", rich_help_panel="Machine")]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Threads of every pool; all processors by default.",
        rich_help_panel="Machine",
        callback=_limited,
    ),
]
DecodersOption = Annotated[
    int | None,
    typer.Option(min=1, help="Decoding threads; all processors by default.", callback=_limited),
]
"""As :data:`ThreadsOption` for commands that only decode, where 0 has no meaning."""
LoaderOption = Annotated[
    str,
    typer.Option(
        help="auto, torch, dali or resident; auto is torch on a CPU, resident for prepared data on a GPU, else dali.",
        rich_help_panel="Machine",
    ),
]
CacheOption = Annotated[
    str,
    typer.Option(
        help="Keep decoded pictures: auto (in memory while they fit, then 20GB on disk), off, a SIZE such as 50GB, or "
        "a DIR that serves later runs, too.",
        rich_help_panel="Machine",
    ),
]
DaliOption = Annotated[bool, typer.Option("--dali", help="The same as --loader dali.", rich_help_panel="Machine")]
PrevalenceOption = Annotated[
    str | None,
    typer.Option(
        metavar="P", help='Correct probabilities for this prevalence: 0.05, or "Edema=0.05,Mass=0.01"; the same calls.'
    ),
]
RuntimeOption = Annotated[
    str,
    typer.Option(
        help="torch, or of exported folders onnxruntime, openvino or tensorrt; auto.", rich_help_panel="Machine"
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="I/N", help="Do every N-th picture only; when all shards are done, data merge joins them."
    ),
]
TTAOption = Annotated[
    str | None,
    typer.Option(help="Average the probabilities of several views: flip, rotate, shift, scale, or some of them."),
]
KeepMasksOption = Annotated[
    bool, typer.Option("--keep-masks", help="Keep masks, thumbnails and heat maps of folders as pictures.")
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Stop at files that can't be read.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


def print_shard(done: ShardDone) -> None:
    """Say that a shard is done, and what comes when all are."""
    part = f"{done.shard.number} of {done.shard.of}"
    print(f"Shard {part} is done: {done.pictures:,} of {done.pictures_in_all:,} pictures.")
    print(f"When all are: {shlex.join(['xraycls', 'data', 'merge', str(done.target)])}")


def chosen_loader(loader: str, dali: bool) -> str:
    """The engine that ``--loader`` and ``--dali`` name together; raises UsageError when they disagree."""
    if dali and loader not in ("auto", "dali"):
        raise UsageError(f"--dali and --loader {loader} don't go together", "Leave out one of them")
    return "dali" if dali else loader
