"""How fast models answer: latency and throughput by runtime and batch size, with how far the answers are apart."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xraycls.errors import UsageError
from xraycls.evaluation import style
from xraycls.evaluation.detection.overlap import box_iou
from xraycls.inference.exported import ExportedFile, find_exported, is_exported, read_listing
from xraycls.inference.exported_detections import detections_of
from xraycls.inference.exported_predictor import ExportedModel, read_probabilities, session_of
from xraycls.inference.inputs import samples_of
from xraycls.inference.runtimes import RUNTIMES
from xraycls.types import Detections
from xraycls.workflows.export import pictures_for

if TYPE_CHECKING:
    from xraycls.inference.inputs import Picture
    from xraycls.loaders.recipes.protocol import ViewRecipe

BATCHES = (1, 8, 32)
_COUNTERPART = 0.5  # IoU of a detection with its counterpart in the reference

Pictures = npt.NDArray[np.uint8]
Answers = list[Any]
"""Of each picture the probabilities [C], or the detections in pixels of the input."""


@dataclass(frozen=True, slots=True)
class Timing:
    """A model in a runtime at one batch size.

    Attributes:
        model: its name on the command line, and the file where there are several.
        runtime: "torch", "onnxruntime", "openvino" or "tensorrt".
        precision: number format of the model.
        batch: pictures at a time.
        milliseconds: of the clock for a batch, the median.
        cpu_milliseconds: of all processors together, the median.
        images_per_second: by the clock.
        apart: from the answers of the reference: the largest difference of a probability, 0–1; of a detector the share
            of detections that have no counterpart of their class with an IoU of 0.5, in either list.
    """

    model: str
    runtime: str
    precision: str
    batch: int
    milliseconds: float
    cpu_milliseconds: float
    images_per_second: float
    apart: float


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    runtime: str
    precision: str
    recipe: ViewRecipe
    run: Callable[[Pictures], Answers]


def bench_inference(
    models: Sequence[str | Path],
    *,
    batches: Sequence[int] = BATCHES,
    rounds: int = 10,
    threads: int | None = None,
    device: str = "auto",
    images: Picture | None = None,
    key: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Timing]:
    """Time models in every runtime that is installed; the first is the reference of the others' answers.

    All take turns in one process, so that what else the machine does slows them alike. Decoding and drawing pictures
    isn't part of the time.

    Args:
        models: run folders and weights, which torch computes, and exported folders or files; all classifiers or all
            detectors of one input size.
        batches: pictures at a time.
        rounds: of which the median counts.
        threads: of a computation in the runtimes; None for one a processor.
        device: "auto", "cpu" or "cuda".
        images: pictures; None for drawn ones.
        key: of encrypted detectors.
        progress: told how many batches are done, of how many.

    Raises:
        UsageError: no model, or models of different kinds or sizes.
        XrayclsError: a model can't be loaded.

    Example:
        >>> import xraycls
        >>> from xraycls.workflows.inference_bench import bench_inference
        >>> timings = bench_inference(["runs/first"], batches=(1,), rounds=2)
        >>> [(each.runtime, each.batch, each.apart) for each in timings]
        [('torch', 1, 0.0)]
    """
    if not models or min(batches, default=0) < 1 or rounds < 1:
        raise UsageError("There is nothing to measure", "Name a model, batches of 1 or more, and 1 round or more")
    candidates = [each for model in models for each in _candidates(Path(model), threads, device, key)]
    sizes = {each.recipe.canvas.shape for each in candidates}
    if len(sizes) > 1:
        shown = ", ".join(f"{width} × {height}" for height, width in sorted(sizes))
        raise UsageError(f"The models take pictures of different sizes: {shown}", "Compare those of one size")
    most = max(batches)
    drawn = pictures_for(candidates[0].recipe, samples_of(images) if images is not None else [], most)
    pictures = drawn[np.arange(most) % len(drawn)]
    total, done = len(batches) * (rounds + 1) * len(candidates), 0
    timings: list[Timing] = []
    for batch in batches:
        part = pictures[:batch]
        answers: list[Answers] = []
        spent: list[list[tuple[float, float]]] = [[] for _ in candidates]
        for turn in range(rounds + 1):
            for number, candidate in enumerate(candidates):
                clock, cpu = time.perf_counter(), time.process_time()
                found = candidate.run(part)
                spent[number].append((time.perf_counter() - clock, time.process_time() - cpu))
                if not turn:  # warms up, and gives the answers
                    answers.append(found)
                done += 1
                progress(done, total)
        for candidate, found, times in zip(candidates, answers, spent, strict=True):
            clock, cpu = (statistics.median(each) for each in zip(*times[1:], strict=True))
            timings.append(
                Timing(
                    candidate.name,
                    candidate.runtime,
                    candidate.precision,
                    batch,
                    1000 * clock,
                    1000 * cpu,
                    batch / clock,
                    _apart(answers[0], found),
                )
            )
    return timings


def described(timings: Sequence[Timing]) -> list[dict[str, Any]]:
    """The timings as values of JSON."""
    return [asdict(each) for each in timings]


def plot_timings(timings: Sequence[Timing], path: Path) -> None:
    """Draw the throughput of every model and runtime by batch size as a PNG."""
    names = list(dict.fromkeys((each.model, each.runtime, each.precision) for each in timings))
    batches = list(dict.fromkeys(each.batch for each in timings))
    figure = style.new_figure(8, 1.6 + 0.32 * len(names) * len(batches), "Inference", "pictures a second")
    axes = figure.subplots()
    for series, batch in enumerate(batches):
        rows = [each for each in timings if each.batch == batch]
        where = [
            names.index((e.model, e.runtime, e.precision)) + (series - (len(batches) - 1) / 2) * 0.8 / len(batches)
            for e in rows
        ]
        colour = style.SERIES[series % len(style.SERIES)]
        axes.barh(where, [e.images_per_second for e in rows], 0.7 / len(batches), color=colour, label=f"batch {batch}")
    axes.set_yticks(range(len(names)), [" · ".join(name) for name in names])
    axes.invert_yaxis()
    style.quiet(axes, "pictures a second", "")
    axes.legend(frameon=False, fontsize=9)
    style.save(figure, path)


def _candidates(model: Path, threads: int | None, device: str, key: str) -> list[_Candidate]:
    if not is_exported(model):
        return [_in_torch(model, device, key)]
    files = read_listing(model) if model.is_dir() else [find_exported(model)[1]]
    folder = model if model.is_dir() else model.parent
    return [
        _in_runtime(folder / file.file, file, runtime, threads, device)
        for file in files
        for runtime in (*RUNTIMES, *(["tensorrt"] if device != "cpu" else []))
        if find_spec(runtime) and _computes(runtime, file)
    ]


def _computes(runtime: str, file: ExportedFile) -> bool:
    if runtime == "tensorrt":
        return bool(file.engine)
    return file.form != "trt" and not (runtime == "onnxruntime" and file.precision == "bf16")


def _in_runtime(path: Path, file: ExportedFile, runtime: str, threads: int | None, device: str) -> _Candidate:
    found, _ = find_exported(path)
    session = session_of(found, file, runtime, threads=threads, device="cpu" if runtime == "openvino" else device)
    model = ExportedModel(path, file, session)

    def run(pictures: Pictures) -> Answers:
        outputs = model.run_on(pictures[:, 0])
        if file.kind == "detector":
            return detections_of(outputs, file)
        return read_probabilities(outputs, _NO_VIEWS, multi_label=model.multi_label)

    return _Candidate(str(path), runtime, file.precision, file.recipe, run)


_NO_VIEWS = np.zeros((0, 2, 3))


def _in_torch(model: Path, device: str, key: str) -> _Candidate:
    import torch

    from xraycls.inference.classification import TrainedModel
    from xraycls.inference.load import load_model
    from xraycls.training.precision import choose_device

    trained = load_model(model, choose_device(device), key=key)

    @torch.inference_mode()
    def run(pictures: Pictures) -> Answers:
        images = torch.from_numpy(pictures).to(trained.device)
        if isinstance(trained, TrainedModel):
            return list(trained.classifier.probabilities(trained.launch(images).double()).cpu().numpy())
        return trained.detector.detect(trained.launch(images))

    return _Candidate(str(model), "torch", "fp32", trained.recipe, run)


def _apart(reference: Answers, answers: Answers) -> float:
    if isinstance(reference[0], Detections) is not isinstance(answers[0], Detections):
        raise UsageError("A classifier and a detector can't be compared", "Name models of one kind")
    if not isinstance(reference[0], Detections):
        return float(np.abs(np.stack(reference) - np.stack(answers)).max())
    pairs = list(zip(reference, answers, strict=True))
    lost = sum(_without_counterpart(a, b) + _without_counterpart(b, a) for a, b in pairs)
    return lost / max(sum(len(a) + len(b) for a, b in pairs), 1)


def _without_counterpart(these: Detections, those: Detections) -> int:
    if not len(these) or not len(those):
        return len(these)
    overlap = box_iou(these.boxes.astype(np.float64), those.boxes.astype(np.float64))
    overlap[these.labels[:, None] != those.labels[None]] = 0.0
    return int((overlap.max(axis=1) < _COUNTERPART).sum())
