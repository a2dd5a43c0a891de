"""Prune a detector: fewer filters, the same file format, to be trained anew."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from xraycls.compress.prune import PruneReport, prune
from xraycls.data.files import require_other
from xraycls.errors import UsageError, XrayclsError, unknown
from xraycls.models.detection.base import Detector
from xraycls.models.detection.files import load_detector, save_detector
from xraycls.models.files import find_model, named_model
from xraycls.tao.results import reported

_PRUNED_FROM = "pruned_from"
"""Travels with a pruned model, until it is trained again, by the name of the model that it was."""


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
    title: str = "SSD",
) -> tuple[Path, PruneReport]:
    """Prune as TAO's ``ssd prune`` does, and write what is left.

    Args:
        model: a detector's file, as :func:`~xraycls.models.files.find_model` takes it.
        output: where to write; a suffix is added when it has none of a model's.
        key: that the model was saved with, and that the pruned one is.
        normalizer: as :func:`~xraycls.compress.prune.prune` takes it, like the next four.
        criterion: likewise.
        threshold: likewise.
        granularity: likewise.
        min_filters: likewise.
        excluded: layers to keep whole: their paths in the network, TAO's names, or the last parts of paths.
        title: of the network, in the status file.
        results: folder of TAO's ``status.json``; None for that of the output.

    Returns:
        The file, and what became of each layer.

    Raises:
        UsageError: a setting out of range, an unknown layer, a wrong key, or a file in the way that no pruning wrote.
        RunError: no such model.
        MissingExtra: Torch-Pruning isn't installed.
        XrayclsError: the file can't be written.
    """
    path = named_model(output, key)
    source = find_model(model, key)
    require_other(path, source)
    _require_replaceable(path, key)
    with reported(results or path.parent, f"{title} pruning") as status:
        detector, extra = load_detector(model, key=key)
        config = detector.config
        report = prune(
            detector.net,
            torch.zeros(1, len(config.mean), config.height, config.width),
            normalizer=normalizer,
            criterion=criterion,
            threshold=threshold,
            granularity=granularity,
            min_filters=min_filters,
            excluded=_paths(detector, excluded),
        )
        detector.net = report.model
        save_detector(detector, path, key=key, extra={**extra, _PRUNED_FROM: source.name})
        size = path.stat().st_size / 2**20
        kpi = {"pruning_ratio": report.ratio, "size": size, "param_count": report.after}
        status.write("Pruning finished", figures={"kpi": kpi})
    return path, report


def _require_replaceable(path: Path, key: str) -> None:
    """Raise UsageError for a file that isn't what an earlier pruning wrote: it may be the work of a training."""
    if not path.exists():
        return
    with suppress(XrayclsError):
        if _PRUNED_FROM in load_detector(path, key=key)[1]:
            return
    raise UsageError(f"{path} exists, and no pruning wrote it", "Name another file with -o, or remove it first")


def _paths(detector: Detector, excluded: Sequence[str]) -> list[str]:
    """The layers that a user means. A name that TAO gives one layer and we another means TAO's.

    TAO's Faster R-CNN adds ``_td`` to the layers that are applied to each region.
    """
    paths = [path for path, _ in detector.net.named_modules() if path]
    tao = {name: path for path, name in detector.layer_names.items()}
    named = {path: [path] for path in paths} | {name: [path] for name, path in tao.items()}
    found = {
        name: named.get(name) or named.get(name.removesuffix("_td")) or [p for p in paths if p.endswith(f".{name}")]
        for name in excluded
    }
    for name in (name for name in excluded if not found[name]):
        near = [n for names in (tao, paths) for n in difflib.get_close_matches(name, names, n=2, cutoff=0.5)]
        raise unknown("layer", name, near or [child for child, _ in detector.net.named_children()], "-el")
    return [path for name in excluded for path in found[name]]
