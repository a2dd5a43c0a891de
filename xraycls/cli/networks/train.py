"""`xraycls ssd train` and its like."""

from __future__ import annotations

import os
import shlex
from typing import Annotated

import typer

from xraycls.cli.invocation import invocation_of
from xraycls.cli.options import CacheOption, DeviceOption, LoaderOption, PrecisionOption, ThreadsOption
from xraycls.cli.secrets import key_of
from xraycls.cli.tao_command import launcher_of, program_of, say_ignored
from xraycls.cli.tao_options import EXTRA, KeyOption, MountOption, SizeOption, SpecOption, size_of


def train(
    context: typer.Context,
    spec: SpecOption,
    results_dir: Annotated[
        str | None,
        typer.Option("--results-dir", "-r", help="Folder for weights, the training's table and status.json."),
    ],
    key: KeyOption = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--resume-model-weights",
            "-m",
            help="A model to start from, pruned or not, a classifier's weights, or the model to go on with.",
        ),
    ] = None,
    initial_epoch: Annotated[
        int,
        typer.Option("--initial-epoch", min=1, help="Above 1, go on with this epoch, where -r or the model of -m was."),
    ] = 1,
    resume: Annotated[
        bool,
        typer.Option("--continue", help="Go on with the training in -r, wherever it stopped.", rich_help_panel=EXTRA),
    ] = False,
    arch: Annotated[str, typer.Option("--arch", hidden=True)] = "",
    use_multiprocessing: Annotated[bool, typer.Option("--use-multiprocessing", hidden=True)] = False,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Instead of the spec's.", rich_help_panel=EXTRA)
    ] = None,
    size: SizeOption = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, help="Images a GPU, instead of the spec's.", rich_help_panel=EXTRA),
    ] = None,
    mount: MountOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    loader: LoaderOption = "auto",
    threads: ThreadsOption = None,
    cache: CacheOption = "auto",
) -> None:
    """Train a detector from a spec, as TAO does; with -m from a model, such as a pruned one.

    Weights, a table of the epochs and status.json land in the results folder.
    Ctrl-C saves the training, and --continue goes on with it.
    """
    say_ignored(context, "arch", "use_multiprocessing")
    launcher = launcher_of(context)
    if launcher.gpus > 1 and "WORLD_SIZE" not in os.environ:
        from xraycls.training.launch import launch

        raise typer.Exit(launch(launcher.gpus, device, invocation_of(context).arguments))
    from xraycls.cli.tao_printer import TaoPrinter
    from xraycls.progress import TrainingProgress
    from xraycls.tao.mounts import read_mounts
    from xraycls.tao.networks import network_of
    from xraycls.workflows.detection.spec import train_spec

    mounts = read_mounts(mount or ())
    program = program_of(context)
    network = network_of(program)
    with TrainingProgress() as reporter:
        done = train_spec(
            network,
            mounts.path(spec),
            None if results_dir is None else mounts.path(results_dir),
            key=key_of(key, mounts.variables),
            weights=None if model is None else mounts.path(model),
            initial_epoch=initial_epoch,
            resume=resume,
            epochs=epochs,
            size=size_of(size),
            batch_size=batch_size,
            mounts=mounts,
            device=device,
            precision=_halved(precision, device) if launcher.use_amp else precision,
            loader=loader,
            threads=threads,
            reporter=TaoPrinter(reporter, blocks=not network.is_strict),
        )
    if os.environ.get("RANK", "0") == "0":
        early = ", since it no longer improves" if done.outcome.stopped_early else ""
        print(f"Finished {done.outcome.rows[-1]['epoch']:.0f} epochs{early}. Results: {done.run.path}")
        command = ["xraycls", program, "evaluate", "-e", spec, "-m", str(done.model)]
        command += [word for each in mount or () for word in ("--mount", each)]
        print(f"Next: {shlex.join(command)}{' -k KEY' * bool(key)}")


def _halved(precision: str, device: str) -> str:
    """What ``--use_amp`` makes of "auto": fp16 on GPUs that have no bf16, where "auto" alone would stay with fp32."""
    from xraycls.training.precision import choose_device, computes_bf16

    place = choose_device(device)
    return "fp16" if precision == "auto" and place.type == "cuda" and not computes_bf16(place) else precision
