"""Does it pay to fold the normalisation of pictures into the first convolution? In CPU seconds.

    python -m benchmarks.first_convolution --json benchmarks/results/first_convolution.json

A classifier takes grey levels, normalises them into three equal channels, and convolves those. The same numbers come
out of a convolution of the grey levels alone, by weights summed over the channels, beside what the means add: a map
that is the same for every picture, but not constant, because the border is padded with the mean and not with black.
That map is added afterwards ("map"), or comes from a second channel of ones ("ones"). Each is run forwards and back to
the weights, in fp32, in turns with the others; a whole training step says how much of it the difference is.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.common import in_sentences, options, show, write_json
from benchmarks.memory_format import CPU, FORMATS, cpu_seconds
from benchmarks.steps import Step, ceiling_step
from xraycls.models.classifier import Classifier, build_classifier
from xraycls.training.config import parse_config

Convolved = Callable[[torch.Tensor], torch.Tensor]


def main() -> None:
    """Run, print the table and write JSON."""
    parser = options(__doc__)
    parser.add_argument("--net", default="resnet18", help="whose first layer is net.conv1")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rows = [measured(layout, given) for layout in FORMATS]
    names = [name for name in rows[0] if name.endswith("_ms")]
    show(
        f"{given.net}, batches of {given.batch_size}, fp32, CPU milliseconds, medians of {given.rounds} rounds",
        ("memory format", *(name.removesuffix("_ms") for name in names), "largest difference"),
        [(row["layout"], *(f"{row[name]:,.0f}" for name in names), f"{row['difference']:.1e}") for row in rows],
    )
    write_json(given.json, {"net": given.net, "batch_size": given.batch_size, "rounds": given.rounds, "layouts": rows})


def measured(layout: str, given: argparse.Namespace) -> dict[str, Any]:
    """CPU milliseconds in one memory format, and how far apart the convolutions are, relative to the largest value."""
    classifier, _ = build_classifier(given.net, ("NORMAL", "PNEUMONIA"), weights="none")
    classifier.to(memory_format=FORMATS[layout])  # type: ignore[call-overload]
    images = torch.randint(0, 256, (given.batch_size, 1, classifier.size, classifier.size), dtype=torch.uint8)
    ways = convolutions(classifier, FORMATS[layout])
    outputs = {name: way(images).detach() for name, way in ways.items()}
    exact, *others = outputs.values()
    gradient = torch.randn_like(exact)
    data = {"base_model": given.net, "batch_size": given.batch_size, "precision": "fp32", "data": "none"}
    config = parse_config({**data, "channels_last": layout == "channels_last"})
    steps: dict[str, Step] = {
        "normalisation": lambda: len(classifier.prepare(images)),
        **{name: _there_and_back(way, images, gradient) for name, way in ways.items()},
        "step": ceiling_step(config, CPU),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(given.rounds):
        for name, step in steps.items():
            seconds[name].append(cpu_seconds(step))
    return {
        "layout": layout,
        **{f"{name}_ms": 1000 * statistics.median(values) for name, values in seconds.items()},
        "difference": max(float((other - exact).abs().max() / exact.abs().max()) for other in others),
    }


def convolutions(classifier: Classifier, layout: torch.memory_format) -> dict[str, Convolved]:
    """Three ways from grey levels to the output of the first convolution, normalisation included."""
    first = classifier.get_submodule("net.conv1")
    assert isinstance(first, nn.Conv2d)
    weight, where = first.weight, {"stride": first.stride, "padding": first.padding}
    scale, shift = classifier.scale, classifier.shift
    ones = torch.ones(1, 1, classifier.size, classifier.size)

    def as_it_is(images: torch.Tensor) -> torch.Tensor:
        return first(classifier.prepare(images).contiguous(memory_format=layout))

    def with_map(images: torch.Tensor) -> torch.Tensor:
        grey = images.to(torch.float32).contiguous(memory_format=layout)
        added = F.conv2d(ones, (weight * shift).sum(1, keepdim=True), **where)
        return F.conv2d(grey, (weight * scale).sum(1, keepdim=True), **where) + added

    def with_ones(images: torch.Tensor) -> torch.Tensor:
        both = torch.cat([images.to(torch.float32), ones.expand(len(images), -1, -1, -1)], 1)
        weights = torch.stack([(weight * scale).sum(1), (weight * shift).sum(1)], 1)
        return F.conv2d(both.contiguous(memory_format=layout), weights, **where)

    return {"as it is": as_it_is, "map": with_map, "ones": with_ones}


def _there_and_back(way: Convolved, images: torch.Tensor, gradient: torch.Tensor) -> Step:
    def step() -> int:
        way(images).backward(gradient)
        return len(images)

    return step


if __name__ == "__main__":
    in_sentences(main)
