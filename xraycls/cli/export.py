"""`xraycls export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xraycls.cli.options import JsonOption, KeyOption

if TYPE_CHECKING:
    from xraycls.export.folder import Exported
    from xraycls.export.parity import Parity


_IN_8_BITS: dict[str, Any] = {"rich_help_panel": "In 8 bits (int8, u8s8)"}


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A run folder, a file of weights, or the name of a classifier.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the ONNX file and export.json.")],
    form: Annotated[
        str | None,
        typer.Option(
            help="nms, heads, tao or trt of a detector; logits or probabilities of a classifier. Several: nms,tao"
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="fp32, fp16, bf16, int8 (TensorRT, OpenVINO) or u8s8 (CPUs). Several: fp32,fp16")
    ] = "fp32",
    input_: Annotated[
        str, typer.Option("--input", help="uint8 or float: grey levels 0–255; bgr: float, of colours.")
    ] = "uint8",
    images: Annotated[
        list[Path] | None,
        typer.Option(help="Pictures to compare on; those of the run's validation split, or drawn ones by default."),
    ] = None,
    key: KeyOption = "",
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA", help="Pictures for the ranges; the run's training split by default.", **_IN_8_BITS
        ),
    ] = None,
    calibration_images: Annotated[
        int, typer.Option(min=1, help="How many of them; fewer are an error.", **_IN_8_BITS)
    ] = 500,
    calibration_method: Annotated[
        str | None, typer.Option(help="entropy (default), percentile or max; of u8s8 max.", **_IN_8_BITS)
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Fail when AUROC or mAP on validation falls by more.", **_IN_8_BITS),
    ] = None,
    deepstream: Annotated[
        bool, typer.Option("--deepstream", help="Write DeepStream's settings beside it; the input is float or bgr.")
    ] = False,
    triton: Annotated[
        Path | None, typer.Option(metavar="REPOSITORY", help="Write a model repository of Triton, too.")
    ] = None,
    triton_name: Annotated[str, typer.Option(help="The model's name in it.")] = "xraycls",
    triton_backend: Annotated[str, typer.Option(help="onnxruntime, python or tensorrt.")] = "onnxruntime",
    engine: Annotated[
        bool, typer.Option("--engine", help="Build TensorRT's engine beside it, on a machine with a GPU.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a model as ONNX for onnxruntime, OpenVINO, TensorRT and Triton, and compare it with torch.

    With several forms or precisions, --json prints a line for each file.
    """
    from xraycls.errors import UsageError
    from xraycls.workflows.export import export_model, serve_settings

    forms: list[str | None] = [*form.split(",")] if form else [None]
    wanted = [(each, number) for number in precision.split(",") for each in forms]
    if len(wanted) > 1 and (deepstream or triton):
        raise UsageError("--triton and --deepstream are of one file", "Give one --form and one --precision")
    for chosen, number in wanted:
        done = export_model(
            model,
            output,
            form=chosen,
            precision=number,
            input=input_,  # type: ignore[arg-type]
            images=images or None,
            key=key,
            calibration=calibration,
            calibration_images=calibration_images,
            calibration_method=calibration_method,
            max_drop=max_drop,
            deepstream=deepstream,
        )
        files = serve_settings(
            done, deepstream=deepstream, triton=triton, name=triton_name, backend=triton_backend, engine=engine
        )
        if as_json:
            print(json.dumps(done.file.described()))
            continue
        print_export(done)
        if files:
            print(f"Wrote {', '.join(map(str, files))}.")


def print_export(done: Exported) -> None:
    """Print where the file is, what it takes and gives, and how near it is to torch."""
    file = done.file
    print(f"{done.path}: {file.network}, {file.form}, {file.precision}, {done.path.stat().st_size / 1e6:.1f} MB")
    print(f"  image {file.input} [batch, {file.channels}, {file.height}, {file.width}]")
    for name, shape in file.outputs.items():
        print(f"  {name} [{', '.join(map(str, shape))}]")
    print_parity(done.parity)
    if quantization := file.quantization:
        print("  " + ", ".join(f"{name} {value}" for name, value in quantization.items() if value != []))
    if figures := file.figures:
        before, after = (f"{name} {figures[name]:.4f}" for name in ("fp32", file.precision))
        print(f"  {figures['metric']} on {figures['images']} validation images: {before}, {after}")
    for version, command in file.trtexec.items():
        print(f"  TensorRT {version}: {command}")


def print_parity(parity: list[Parity]) -> None:
    """Print the table of comparisons."""
    from rich.console import Console
    from rich.table import Table

    table = Table("batch", "compared", "largest difference", "limit", "of", title="against torch", title_justify="left")
    for each in parity:
        limit = "–" if each.limit is None else f"{each.limit:.1e}"
        table.add_row(str(each.batch), each.what, f"{each.difference:.1e}", limit, f"{each.compared:,}")
    Console(highlight=False).print(table)
