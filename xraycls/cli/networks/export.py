"""`xraycls ssd export` and its like."""

from __future__ import annotations

from typing import Annotated

import typer

from xraycls.cli.secrets import key_of
from xraycls.cli.tao_command import program_of, say_ignored
from xraycls.cli.tao_options import KeyOption, MountOption

_HIDDEN = typer.Option(hidden=True)


def export(
    context: typer.Context,
    model: Annotated[str, typer.Option("--model", "-m", "--model-path", help="The trained model.")],
    output: Annotated[
        str | None, typer.Option("--output-file", "-o", help="The ONNX file; the model's name by default.")
    ] = None,
    spec: Annotated[
        str | None,
        typer.Option("--experiment-spec", "-e", "--experiment-spec-file", help="Whose suppression counts."),
    ] = None,
    key: KeyOption = None,
    data_type: Annotated[
        str, typer.Option("--data-type", help="fp32, fp16 or int8, of the engine that is built of it.")
    ] = "fp32",
    gen_ds_config: Annotated[
        bool, typer.Option("--gen-ds-config", help="Write nvinfer_config.txt for DeepStream beside it.")
    ] = False,
    cal_image_dir: Annotated[
        str | None, typer.Option("--cal-image-dir", help="Pictures that int8 chooses its ranges on.")
    ] = None,
    batches: Annotated[int, typer.Option("--batches", min=1, help="Of them; fewer are an error.")] = 10,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Pictures of a batch.")] = 16,
    cal_cache_file: Annotated[
        str, typer.Option("--cal-cache-file", help="TensorRT's calibration cache, to write for int8.")
    ] = "cal.bin",
    cal_json_file: Annotated[
        str | None, typer.Option("--cal-json-file", help="The ranges of int8 as JSON, to write.")
    ] = None,
    force_ptq: Annotated[
        bool, typer.Option("--force-ptq", help="Choose new ranges for a model of enable_qat.")
    ] = False,
    results_dir: Annotated[str | None, typer.Option("--results-dir", "-r", hidden=True)] = None,
    cal_data_file: Annotated[str, _HIDDEN] = "",
    max_batch_size: Annotated[int, _HIDDEN] = 1,
    min_batch_size: Annotated[int, _HIDDEN] = 1,
    opt_batch_size: Annotated[int, _HIDDEN] = 1,
    max_workspace_size: Annotated[int, _HIDDEN] = 0,
    engine_file: Annotated[str, _HIDDEN] = "",
    static_batch_size: Annotated[int, _HIDDEN] = -1,
    target_opset: Annotated[int, _HIDDEN] = 12,
    onnx_route: Annotated[str, _HIDDEN] = "",
    strict_type_constraints: Annotated[bool, typer.Option("--strict-type-constraints", "-s", hidden=True)] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", hidden=True)] = False,
    mount: MountOption = None,
) -> None:
    """Write a model as ONNX with the outputs of TAO's files, and compare it with torch."""
    from xraycls.cli.export import print_export
    from xraycls.tao.mounts import read_mounts
    from xraycls.tao.networks import network_of
    from xraycls.workflows.detection.export import Calibration, export_for_tao

    say_ignored(context, *_IGNORED)
    mounts = read_mounts(mount or ())
    done, files = export_for_tao(
        network_of(program_of(context)),
        mounts.path(model),
        None if output is None else mounts.path(output),
        spec=None if spec is None else mounts.path(spec),
        key=key_of(key, mounts.variables),
        data_type=data_type,
        gen_ds_config=gen_ds_config,
        calibration=Calibration(
            images=mounts.path(cal_image_dir) if cal_image_dir else None,
            batches=batches,
            batch_size=batch_size,
            cache=mounts.path(cal_cache_file),
            json=mounts.path(cal_json_file) if cal_json_file else None,
            force_ptq=force_ptq,
        ),
        mounts=mounts,
    )
    print_export(done)
    if files:
        print(f"Wrote {', '.join(map(str, files))}.")


_IGNORED = (
    "results_dir cal_data_file max_batch_size min_batch_size opt_batch_size max_workspace_size engine_file "
    "static_batch_size target_opset onnx_route strict_type_constraints verbose gpus gpu_index use_amp"
).split()
