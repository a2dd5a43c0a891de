"""`xraycls ssd prune` and its like."""

from __future__ import annotations

from typing import Annotated

import typer

from xraycls.cli.pruning_options import (
    CriterionOption,
    FewestOption,
    GranularityOption,
    NormalizerOption,
    ThresholdOption,
)
from xraycls.cli.secrets import key_of
from xraycls.cli.tao_command import program_of, say_ignored
from xraycls.cli.tao_options import KeyOption, MountOption


def prune(
    context: typer.Context,
    model: Annotated[
        str, typer.Option("--model", "-m", "--model-path", "-pm", "--pretrained-model", help="The trained model.")
    ],
    output: Annotated[str, typer.Option("--output-file", "-o", help="Where to write the pruned model.")],
    key: KeyOption = None,
    normalizer: NormalizerOption = "max",
    criterion: CriterionOption = "union",
    granularity: GranularityOption = 8,
    threshold: ThresholdOption = 0.1,
    min_filters: FewestOption = 16,
    excluded: Annotated[
        list[str] | None,
        typer.Option(
            "--excluded-layers",
            "-el",
            help="Layers to keep whole, by TAO's names (block_1a_conv_1) or by ours (backbone.layer1.0.conv1, see -v).",
        ),
    ] = None,
    results_dir: Annotated[
        str | None, typer.Option("--results-dir", "-r", help="Folder for status.json; that of the output by default.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell what became of every layer.")] = False,
    spec: Annotated[str, typer.Option("--experiment-spec", "-e", "--experiment-spec-path", hidden=True)] = "",
    mount: MountOption = None,
) -> None:
    """Remove the filters of a trained model that matter least; then train it again with train -m."""
    from xraycls.tao.mounts import read_mounts
    from xraycls.tao.networks import network_of
    from xraycls.workflows.detection.prune import prune_detector

    say_ignored(context, "spec", "gpus", "gpu_index", "use_amp")
    mounts = read_mounts(mount or ())
    path, report = prune_detector(
        mounts.path(model),
        mounts.path(output),
        key=key_of(key, mounts.variables),
        normalizer=normalizer,
        criterion=criterion,
        threshold=threshold,
        granularity=granularity,
        min_filters=min_filters,
        excluded=excluded or (),
        results=None if results_dir is None else mounts.path(results_dir),
        title=network_of(program_of(context)).title,
    )
    if verbose:
        for layer in report.layers:
            print(f"{layer.name}: {layer.before} filters, {layer.after} left" + (f" ({layer.note})" * bool(layer.note)))
    print(f"Pruning ratio (pruned model / original model): {report.ratio}")
    print(f"Parameters: {report.before:,} before, {report.after:,} after. Wrote {path}.")
