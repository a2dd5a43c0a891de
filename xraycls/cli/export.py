"""`xraycls export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xraycls.cli.options import JsonOption

if TYPE_CHECKING:
    from xraycls.export.folder import Exported
    from xraycls.export.parity import Parity


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A run folder, a file of weights, or the name of a classifier.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the ONNX file and export.json.")],
    form: Annotated[
        str | None,
        typer.Option(help="nms, heads, tao or trt of a detector; logits or probabilities of a classifier."),
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, fp16 or bf16.")] = "fp32",
    input_: Annotated[str, typer.Option("--input", help="uint8 or float: grey levels 0–255 as such.")] = "uint8",
    images: Annotated[
        list[Path] | None,
        typer.Option(help="Pictures to compare on; those of the run's validation split, or drawn ones by default."),
    ] = None,
    key: Annotated[str, typer.Option("--key", "-k", help="Of an encrypted detector.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Write a model as ONNX for onnxruntime, OpenVINO, TensorRT and Triton, and compare it with torch."""
    from xraycls.workflows.export import export_model

    done = export_model(
        model,
        output,
        form=form,
        precision=precision,
        input=input_,  # type: ignore[arg-type]
        images=images or None,
        key=key,
    )
    if as_json:
        print(json.dumps(done.file.described()))
        return
    print_export(done)


def print_export(done: Exported) -> None:
    """Print where the file is, what it takes and gives, and how near it is to torch."""
    file = done.file
    print(f"{done.path}: {file.network}, {file.form}, {file.precision}, {done.path.stat().st_size / 1e6:.1f} MB")
    print(f"  image {file.input} [batch, 1, {file.height}, {file.width}]")
    for name, shape in file.outputs.items():
        print(f"  {name} [{', '.join(map(str, shape))}]")
    print_parity(done.parity)


def print_parity(parity: list[Parity]) -> None:
    """Print the table of comparisons."""
    from rich.console import Console
    from rich.table import Table

    table = Table("batch", "compared", "largest difference", "limit", "of", title="against torch", title_justify="left")
    for each in parity:
        limit = "–" if each.limit is None else f"{each.limit:.1e}"
        table.add_row(str(each.batch), each.what, f"{each.difference:.1e}", limit, f"{each.compared:,}")
    Console(highlight=False).print(table)
