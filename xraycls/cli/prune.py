"""`xraycls prune`: TAO's pruning, with its flags, for classifiers."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xraycls.cli.invocation import print_table
from xraycls.cli.options import JsonOption
from xraycls.cli.pruning_options import (
    CriterionOption,
    FewestOption,
    GranularityOption,
    NormalizerOption,
    ThresholdOption,
)
from xraycls.errors import UsageError

if TYPE_CHECKING:
    from xraycls.compress.prune import PruneReport


def prune(
    model: Annotated[
        str, typer.Option("--model", "-m", help="A run folder, a weights file, or a model's name: its newest run.")
    ],
    output_file: Annotated[Path, typer.Option("--output-file", "-o", help="The weights file to write.")],
    normalizer: NormalizerOption = "max",
    equalization_criterion: CriterionOption = "union",
    pruning_granularity: GranularityOption = 8,
    pruning_threshold: ThresholdOption = 0.1,
    min_num_filters: FewestOption = 16,
    excluded_layers: Annotated[
        list[str] | None,
        typer.Option("--excluded-layers", "-el", metavar="LAYER…", help="Layers, or groups of them, to keep whole."),
    ] = None,
    more_layers: Annotated[list[str] | None, typer.Argument(hidden=True, metavar="LAYER")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line a layer.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove the weak filters of a trained classifier; train it again with xraycls train --weights."""
    if more_layers and not excluded_layers:
        raise UsageError(f"{more_layers[0]} belongs to no flag", "Name the model with -m and layers to keep with -el")
    from xraycls.workflows.prune import prune as prune_classifier

    done = prune_classifier(
        model,
        output_file,
        criterion=equalization_criterion,
        normalizer=normalizer,
        threshold=pruning_threshold,
        granularity=pruning_granularity,
        min_filters=min_num_filters,
        excluded=[*(excluded_layers or ()), *(more_layers or ())],
    )
    report = done.report
    if as_json:
        facts = {
            "pruning_ratio": report.ratio,
            "param_count": report.after,
            "size": done.path.stat().st_size / 2**20,
            "model": str(done.path),
        }
        print(json.dumps(facts))
        return
    if verbose:
        _print_layers(report)
    print(f"Pruning ratio (pruned model / original model): {report.ratio}")
    print(f"Pruned model: {done.path}")
    again = ["xraycls", "train", "--base-model", done.architecture, "--weights", str(done.path)]
    print(f"Next: {shlex.join(again)}")


def _print_layers(report: PruneReport) -> None:
    from rich.table import Table

    table = Table("Layer", "Before", "After", "Kept whole because")
    for layer in report.layers:
        table.add_row(layer.name, str(layer.before), str(layer.after), layer.note)
    print_table(table)
