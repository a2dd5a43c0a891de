"""From what a user names a model by, to the loaded model."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from xraycls.errors import RunError, UsageError, XrayclsError
from xraycls.inference.classification import TrainedModel
from xraycls.loaders.recipes.classification import find_recipe
from xraycls.models.classifier import load_classifier
from xraycls.models.encryption import is_encrypted
from xraycls.models.files import explained_damage, find_model, kind_of, read_metadata
from xraycls.models.ood import OOD_KEY, OODCheck
from xraycls.models.zoo import find
from xraycls.training.run_folder import RUNS, RunFolder, find_runs

if TYPE_CHECKING:
    from xraycls.inference.detection import TrainedDetector
    from xraycls.models.detection.base import DetectorConfig, Suppression
    from xraycls.models.detection.proposals import ProposalSettings


def load_model(
    name: str | Path, device: torch.device | str = "cpu", runs: Path = RUNS, *, key: str = ""
) -> TrainedModel | TrainedDetector:
    """Returns a trained classifier or detector.

    Args:
        name: a run folder, the name of one below ``runs``, a weights file, or a classifier's name such as "Inception"
            (its newest run).
        device: where it computes.
        runs: where runs are looked for.
        key: that a detector was saved with; "" for none.

    Raises:
        RunError: nothing of that name, or no weights in it yet.
        UsageError: the key is missing or wrong.

    Example:
        >>> import xraycls
        >>> model = xraycls.load_model("runs/first")
        >>> model.classes, model.classifier.size
        (('NORMAL', 'PNEUMONIA'), 32)
        >>> detector = xraycls.load_model("runs/detector")
        >>> detector.classes, detector.detector.config.network
        (('opacity',), 'ssd')
    """
    if (weights := _weights_of_detector(Path(name), runs, key)) is not None:
        return load_detector_model(weights, device, key=key)
    return load_classifier_model(name, device, runs)


def load_classifier_model(name: str | Path, device: torch.device | str = "cpu", runs: Path = RUNS) -> TrainedModel:
    """Returns a trained classifier; arguments as :func:`load_model` takes them.

    Raises:
        RunError: nothing of that name, no weights in it yet, or a detector.
    """
    weights, run = weights_of(str(name), runs)
    classifier, metadata = load_classifier(weights)
    classifier.to(device=torch.device(device), memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    threshold = float(metadata["threshold"]) if "threshold" in metadata else None
    bits = int(metadata["bits"]) if metadata.get("bits", "").isdecimal() else None
    recipe = find_recipe(metadata.get("augment", "radiograph"), classifier.size)
    with explained_damage(weights):
        chosen = json.loads(metadata.get("thresholds", "{}"))
        thresholds = (
            tuple(float(chosen.get(name, 0.5)) for name in classifier.classes) if classifier.multi_label else None
        )
        prevalence = {str(n): float(share) for n, share in json.loads(metadata.get("prevalence", "{}")).items()}
        check = OODCheck.parse(metadata[OOD_KEY]) if OOD_KEY in metadata else None
        for name in check.layers if check else ():
            classifier.net.get_submodule(name)
    return TrainedModel(
        classifier,
        recipe,
        metadata.get("engine"),
        threshold,
        weights,
        run,
        bits,
        thresholds,
        check,
        prevalence=prevalence or None,
        precision=metadata.get("precision"),
    )


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
        path: its run folder, or its file as :func:`xraycls.models.files.find_model` takes it.
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
    from xraycls.models.detection.files import load_detector

    file = _best_of_detector(RunFolder(Path(path))) or find_model(Path(path), key)
    detector, extra = load_detector(file, key=key, config=config)
    changed: Any = detector.config
    if suppression is not None:
        changed = replace(changed, suppression=suppression)
    if proposals is not None and hasattr(changed, "proposals"):
        changed = replace(changed, proposals=proposals)
    detector.config = changed
    detector.to(torch.device(device)).eval()
    bits = int(extra["bits"]) if extra.get("bits", "").isdecimal() else None
    return TrainedDetector(detector, detector.evaluation_recipe(), file, precision=extra.get("precision"), bits=bits)


def weights_of(name: str, runs: Path = RUNS) -> tuple[Path, RunFolder | None]:
    """The weights file of a classifier's name, and its run folder; raises RunError when there is none."""
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


def _weights_of_detector(path: Path, runs: Path, key: str) -> Path | None:
    """The weights file that a name means when it is a detector's; None otherwise."""
    for run in (RunFolder(path), RunFolder(runs / path)):
        if weights := _best_of_detector(run):
            return weights
        if run.config.is_file() and run.is_of_detector():
            raise RunError(f"{run.path} holds no weights yet: its first epoch was never finished")
    with contextlib.suppress(RunError, UsageError):
        file = find_model(path, key)
        metadata = read_metadata(file)
        if metadata is not None:
            return file if kind_of(metadata) == "detector" else None
        with file.open("rb") as handle:
            return file if is_encrypted(handle.read(16)) else None
    return None


def _best_of_detector(run: RunFolder) -> Path | None:
    """The weights of a detector's run folder; None for other folders, and before its first epoch."""
    return run.best if run.is_of_detector() and run.best.is_file() else None
