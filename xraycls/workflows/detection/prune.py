"""Prune a detector: fewer filters, the same file format, to be trained anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from xraycls.compress.prune import PruneReport, prune
from xraycls.errors import unknown
from xraycls.models.detection.files import load_detector, named_model, save_detector
from xraycls.tao.results import reported


def prune_detector(
    model: Path,
    output: Path,
    *,
    key: str = "",
    normalizer: str = "max",
    criterion: str = "union",
    threshold: float = 0.1,
    granularity: int = 8,
    min_filters: int = 16,
    excluded: Sequence[str] = (),
    results: Path | None = None,
) -> tuple[Path, PruneReport]:
    """Prune as TAO's ``ssd prune`` does, and write what is left.

    Args:
        model: a detector's file, as :func:`~xraycls.models.detection.files.find_model` takes it.
        output: where to write; a suffix is added when it has none of a model's.
        key: that the model was saved with, and that the pruned one is.
        normalizer: as :func:`~xraycls.compress.prune.prune` takes it, like the next four.
        criterion: likewise.
        threshold: likewise.
        granularity: likewise.
        min_filters: likewise.
        excluded: layers to keep whole: their paths in the network, or the last parts of them.
        results: folder of TAO's ``status.json``; None for that of the output.

    Returns:
        The file, and what became of each layer.

    Raises:
        UsageError: a setting out of range, an unknown layer, or a wrong key.
        RunError: no such model.
        MissingExtra: Torch-Pruning isn't installed.
        XrayclsError: the file can't be written.
    """
    path = named_model(output, key)
    with reported(results or path.parent, "SSD pruning") as status:
        detector, extra = load_detector(model, key=key)
        plan = detector.plan
        report = prune(
            detector.net,
            torch.zeros(1, len(plan.mean), plan.height, plan.width),
            normalizer=normalizer,
            criterion=criterion,
            threshold=threshold,
            granularity=granularity,
            min_filters=min_filters,
            excluded=[path for name in excluded for path in _paths(detector.net, name)],
        )
        detector.net = report.model  # type: ignore[assignment]  # a copy of it
        save_detector(detector, path, key=key, extra=extra)
        size = path.stat().st_size / 2**20
        kpi = {"pruning_ratio": report.ratio, "size": size, "param_count": report.after}
        status.write("Pruning finished", figures={"kpi": kpi})
    return path, report


def _paths(net: nn.Module, name: str) -> Iterator[str]:
    """The layers that a user means: TAO's names are ours without the modules that hold them."""
    names = [path for path, _ in net.named_modules()]
    found = [path for path in names if path == name or path.endswith(f".{name}")]
    if not found:
        raise unknown("layer", name, (path.rpartition(".")[2] for path in names if path), "-el")
    yield from found
