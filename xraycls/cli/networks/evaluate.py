"""`xraycls ssd evaluate` and its like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xraycls.cli.invocation import print_table
from xraycls.cli.options import DeviceOption, LoaderOption, PrecisionOption, RuntimeOption, ThreadsOption
from xraycls.cli.secrets import key_of
from xraycls.cli.tao_command import program_of, say_ignored
from xraycls.cli.tao_options import KeyOption, MountOption, OptionalModelOption, SpecOption

if TYPE_CHECKING:
    from xraycls.evaluation.detection.table import DetectionReport


def evaluate(
    context: typer.Context,
    spec: SpecOption,
    model: OptionalModelOption,
    key: KeyOption = None,
    results_dir: Annotated[
        str | None, typer.Option("--results-dir", "-r", help="Folder for all files; that of the model by default.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", "-b", min=1, help="Images at a time, instead of the spec's.")
    ] = None,
    image_dir: Annotated[str, typer.Option("--image-dir", "-i", hidden=True)] = "",
    label_dir: Annotated[str, typer.Option("--label-dir", "-l", hidden=True)] = "",
    mount: MountOption = None,
    runtime: RuntimeOption = "auto",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    loader: LoaderOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Average precision of a model on the validation images of a spec, as TAO prints it, and other figures."""
    from xraycls.evaluation.detection.printed import CALCULATING, average_precision_block, strict_block
    from xraycls.progress import counting
    from xraycls.tao.mounts import read_mounts
    from xraycls.tao.networks import network_of
    from xraycls.workflows.detection.spec import evaluate_spec

    say_ignored(context, "image_dir", "label_dir", "gpus", "use_amp")
    mounts = read_mounts(mount or ())
    network = network_of(program_of(context))
    with counting("producing predictions") as progress:
        done = evaluate_spec(
            network,
            None if model is None else mounts.path(model),
            mounts.path(spec),
            key=key_of(key, mounts.variables),
            results=None if results_dir is None else mounts.path(results_dir),
            batch_size=batch_size,
            mounts=mounts,
            device=device,
            precision=precision,
            loader=loader,
            threads=threads,
            runtime=runtime,
            progress=progress,
        )
    if network.is_strict:
        print(strict_block(done.strict, done.proposal_recall))
    else:
        print(CALCULATING)
        print(average_precision_block(done.average, network.digits))
    print_figures(done.report)
    print(f"Wrote {', '.join(map(str, done.files))}.")


def print_figures(report: DetectionReport) -> None:
    """Print all figures of a report with their intervals as a table."""
    from rich.table import Table

    from xraycls.evaluation.detection.summary import detection_table

    header, *rows = detection_table(report)
    table = Table(*header, title=f"{report.images:,} images, 95 % intervals", title_justify="left")
    for row in rows:
        table.add_row(*row)
    print_table(table)
