"""From what a user names a model by, to its weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from xraycls.errors import RunError, XrayclsError
from xraycls.inference.classification import TrainedModel
from xraycls.loaders.recipes.classification import find_recipe
from xraycls.models.classifier import load_classifier
from xraycls.models.zoo import find
from xraycls.training.run_folder import RUNS, RunFolder, find_runs

if TYPE_CHECKING:
    from xraycls.inference.detection import TrainedDetector
    from xraycls.models.detection.base import DetectorConfig, Suppression
    from xraycls.models.detection.proposals import ProposalSettings


def load_detector_model(
    path: str | Path,
    device: torch.device | str = "cpu",
    *,
    key: str = "",
    suppression: Suppression | None = None,
    config: Callable[[], DetectorConfig] | None = None,
    proposals: ProposalSettings | None = None,
) -> TrainedDetector:
    """Returns a trained detector.

    Args:
        path: its file, as :func:`xraycls.models.detection.files.find_model` takes it.
        device: where it computes.
        key: that it was saved with.
        suppression: which predicted boxes become detections, instead of what it was trained with.
        config: gives what a Keras file of TAO doesn't say; None refuses such files.
        proposals: of a detector in two stages, likewise.

    Raises:
        RunError: there is no such file, or it is no detector.
        UsageError: the key is missing or wrong.
    """
    # Detectors need torchvision's operators, whose import takes longer than a classifier's whole prediction.
    from xraycls.inference.detection import TrainedDetector
    from xraycls.models.detection.files import find_model, load_detector

    file = find_model(Path(path), key)
    detector, extra = load_detector(file, key=key, config=config)
    changed: Any = detector.config
    if suppression is not None:
        changed = replace(changed, suppression=suppression)
    if proposals is not None and hasattr(changed, "proposals"):
        changed = replace(changed, proposals=proposals)
    detector.config = changed
    detector.to(torch.device(device)).eval()
    return TrainedDetector(detector, detector.evaluation_recipe(), file, precision=extra.get("precision"))


def load_model(name: str | Path, device: torch.device | str = "cpu", runs: Path = RUNS) -> TrainedModel:
    """Returns a trained classifier.

    Args:
        name: a run folder, the name of one below ``runs``, a weights file, or a model's name such as "Inception"
            (its newest run).
        device: where it computes.
        runs: where runs are looked for.

    Raises:
        RunError: nothing of that name, or no weights in it yet.

    Example:
        >>> import xraycls
        >>> model = xraycls.load_model("runs/first")
        >>> model.classes, model.classifier.size
        (('NORMAL', 'PNEUMONIA'), 32)
    """
    weights, run = weights_of(str(name), runs)
    classifier, metadata = load_classifier(weights)
    classifier.to(device=torch.device(device), memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    threshold = float(metadata["threshold"]) if "threshold" in metadata else None
    bits = int(metadata["bits"]) if metadata.get("bits", "").isdecimal() else None
    recipe = find_recipe(metadata.get("augment", "radiograph"), classifier.size)
    return TrainedModel(classifier, recipe, metadata.get("engine"), threshold, weights, run, bits)


def weights_of(name: str, runs: Path = RUNS) -> tuple[Path, RunFolder | None]:
    """The weights file that :func:`load_model` loads, and its run folder; raises RunError when there is none."""
    path = Path(name)
    if path.is_file():
        folder = RunFolder(path.resolve().parent.parent)
        return path, folder if folder.exists() else None
    for candidate in (RunFolder(path), RunFolder(runs / name)):
        if candidate.exists():
            return _best(candidate)
    for run in runs_of(name, runs):
        if run.best.is_file():
            return _best(run)
    trained = find_runs(runs)
    newest = f"The newest run here is {trained[0].path}" if trained else "Train one first with: xraycls train"
    raise RunError(f"{name} is no run folder, no weights file, and {runs}/ holds no finished run of it", newest)


def runs_of(model: str, runs: Path = RUNS) -> list[RunFolder]:
    """The runs of a network, newest first, by any spelling of its name; folders of other versions are passed over."""
    found = []
    for run in find_runs(runs):
        with contextlib.suppress(XrayclsError):
            if run.read_config().base_model == find(model).name:
                found.append(run)
    return found


def _best(run: RunFolder) -> tuple[Path, RunFolder]:
    if not run.best.is_file():
        raise RunError(
            f"{run.path} holds no weights yet: its first epoch was never finished", f"Go on with --resume {run.path}"
        )
    return run.best, run
