"""`xraycls bench …`."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xraycls.cli.options import BatchOption, DeviceOption, JsonOption, ThreadsOption
from xraycls.errors import UsageError
from xraycls.progress import console

if TYPE_CHECKING:
    from rich.table import Table

    from xraycls.workflows.inference_bench import Timing
    from xraycls.workflows.parity_report import Comparison, Parity

_COLUMNS = ("grey\nmean", "\n99%", "worst\nimage", "logits\nmean", "\nmost", "prob.\nmean", "\nmost", "same\ntop-1")

app = typer.Typer(help="Measure what this machine does with your data.", no_args_is_help=True)


@app.command()
def parity(
    data: Annotated[
        Path | None, typer.Option(help="Image folder, CSV, .npz or prepared data; the phantom when omitted.")
    ] = None,
    number: Annotated[int, typer.Option("--number", "-n", help="Pictures to compare, from all classes alike.")] = 64,
    size: Annotated[int | None, typer.Option(help="Side of the pictures, pixels; the model's own, or 224.")] = None,
    augment: Annotated[str, typer.Option(help="Recipe of the training views.")] = "radiograph",
    model: Annotated[
        str | None, typer.Option(help="A run folder, weights file or model's name; random weights when omitted.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of pictures and of their views.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at a file that can't be read.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for parity.png.")] = Path(),
    device: DeviceOption = "auto",
    batch_size: BatchOption = 32,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
    images: Annotated[int | None, typer.Option(hidden=True, help="The earlier name of --number.")] = None,
) -> None:
    """Compare the pictures of every engine with those of torch; the exit code is 1 where a bar is passed."""
    from xraycls.progress import counting
    from xraycls.workflows.parity import parity as compare_engines
    from xraycls.workflows.parity_report import save_worst

    with counting("drawing") as progress:
        result = compare_engines(
            data,
            images=number if images is None else images,
            size=size,
            augment=augment,
            model=model,
            seed=seed,
            batch_size=batch_size,
            device=device,
            threads=threads,
            strict=strict,
            progress=progress,
        )
    picture = output / "parity.png"
    save_worst(result, picture)
    if as_json:
        print(json.dumps(result.to_dict() | {"picture": str(picture)}, indent=2))
    else:
        _print(result, picture)
    if result.beyond:
        raise typer.Exit(1)


@app.command()
def inference(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL…", help="Run folders, weights, exported folders or files; the first is the reference."
        ),
    ],
    batches: Annotated[str, typer.Option("--batch-sizes", help="Pictures at a time, a list.")] = "1,8,32",
    rounds: Annotated[int, typer.Option(min=1, help="Of which the median counts.")] = 10,
    images: Annotated[Path | None, typer.Option(help="Pictures; drawn ones when omitted.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for inference.json and inference.png.")
    ] = Path(),
    key: Annotated[str, typer.Option("--key", "-k", help="Of encrypted detectors.")] = "",
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time models in every runtime that is installed, with how far their answers are from the first one's."""
    from xraycls.data.files import atomic_write
    from xraycls.progress import counting
    from xraycls.workflows.inference_bench import bench_inference, described, plot_timings

    with counting("computing") as progress:
        timings = bench_inference(
            models,
            batches=_numbers(batches),
            rounds=rounds,
            threads=threads,
            device=device,
            images=images,
            key=key,
            progress=progress,
        )
    text = json.dumps(described(timings), indent=2)
    output.mkdir(parents=True, exist_ok=True)
    with atomic_write(output / "inference.json") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    with atomic_write(output / "inference.png") as temporary:
        plot_timings(timings, temporary)
    if as_json:
        print(text)
        return
    _print_timings(timings)
    print(f"Wrote {output / 'inference.json'} and {output / 'inference.png'}.")


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--batch-sizes {text} are no numbers", "Write them as 1,8,32") from None


def _print_timings(timings: list[Timing]) -> None:
    from rich.table import Table

    table = Table("model", "runtime", "", box=None, pad_edge=False)
    for name in ("batch", "ms", "CPU ms", "a second", "apart"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in timings:
        numbers = (f"{each.milliseconds:.1f}", f"{each.cpu_milliseconds:.1f}", f"{each.images_per_second:.1f}")
        table.add_row(each.model, each.runtime, each.precision, str(each.batch), *numbers, f"{each.apart:.1e}")
    console(stderr=False).print(table)


def _print(result: Parity, picture: Path) -> None:

    from xraycls.workflows.parity_report import GREY_BARS

    screen = console(stderr=False)
    screen.print(_table(result))
    lines = [f"{engine} was left out: {reason.rstrip('.')}." for engine, reason in result.absent.items()]
    if result.unreadable:
        lines.append(f"{len(result.unreadable)} of {result.images} pictures could not be read and are left out.")
    lines.append(
        f"Logits and probabilities of {result.model}."
        if result.is_trained
        else f"Logits (deviation 1) and probabilities of {result.model}: top-1 is only a rough check and not judged;"
        " name a trained model with --model."
    )
    bars = ", ".join(f"{bar} grey levels in {view} pictures" for view, bar in GREY_BARS.items())
    lines.append(f"Bars: a mean of {bars}" + ("; all of the top-1 in evaluation." if result.is_trained else "."))
    lines += [f"Beyond: {sentence}." for sentence in result.beyond] or ["Every engine is within the bars."]
    lines.append(f"The pair that differs most: {picture}")
    for line in lines:
        screen.print(line, markup=False, soft_wrap=True)


def _table(result: Parity) -> Table:
    from rich.table import Table

    compared = result.images - len(result.unreadable)
    title = f"{compared} pictures of {result.size} × {result.size} against {result.reference}: absolute differences"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for engine, rows in groupby(result.comparisons, key=lambda row: row.engine):
        table.add_row(f"[bold]{engine}")
        for row in rows:
            table.add_row(*_cells(row))
    return table


def _cells(row: Comparison) -> list[str]:
    return [
        f"  {row.view}",
        f"{row.mean:.2f}",
        f"{row.percentile_99:.0f}",
        f"{row.worst:.2f}",
        f"{row.logits_mean:.2f}",
        f"{row.logits_largest:.2f}",
        f"{row.probabilities_mean:.3f}",
        f"{row.probabilities_largest:.3f}",
        f"{round(row.images * row.same_top1)}/{row.images}",
        "[red]beyond[/]" if row.beyond else "[green]within[/]",
    ]
