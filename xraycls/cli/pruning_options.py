"""The flags of TAO's pruning, which detectors and classifiers share."""

from __future__ import annotations

from typing import Annotated

import typer

NormalizerOption = Annotated[
    str, typer.Option("--normalizer", "-n", help="What divides the norms of a layer: max, L2 or off.")
]
CriterionOption = Annotated[
    str,
    typer.Option(
        "--equalization-criterion",
        "-eq",
        help="For layers that are added up: union, intersection, arithmetic_mean or geometric_mean.",
    ),
]
GranularityOption = Annotated[
    int, typer.Option("--pruning-granularity", "-pg", help="Filters stay in multiples of it.")
]
ThresholdOption = Annotated[
    float, typer.Option("--pruning-threshold", "-pth", help="Filters whose normalised norm exceeds it stay.")
]
FewestOption = Annotated[int, typer.Option("--min-num-filters", "-nf", help="At least so many stay in every layer.")]
