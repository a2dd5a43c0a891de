"""From a job to its training: the detector with what it starts from, and the loop with loaders, task and optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xraycls.data.box_sources import BoxTables
from xraycls.data.depth import depth_of
from xraycls.data.table import SampleTable
from xraycls.errors import UsageError
from xraycls.loaders.cache import picture_cache
from xraycls.loaders.choose import build_loader, choose_engine, notice
from xraycls.loaders.objects import ObjectTable
from xraycls.models.detection.base import Detector
from xraycls.models.detection.files import load_detector, pruning_of, save_detector
from xraycls.models.detection.keras import start_from_keras
from xraycls.models.detection.registry import build_detector
from xraycls.models.detection.transfer import is_classifier, transfer_classifier, transfer_detector
from xraycls.models.encryption import encrypt
from xraycls.models.keras_file import is_keras_file
from xraycls.models.quantization import plan_of, remove_quantization
from xraycls.training.detection import Detection
from xraycls.training.job import DetectionJob
from xraycls.training.loop import Messages, Training
from xraycls.training.precision import memory_format_of_detectors
from xraycls.training.quantization import simulate_8_bits
from xraycls.training.reporter import Reporter
from xraycls.training.run_folder import RunFolder
from xraycls.training.runtime import Runtime
from xraycls.workflows.detection.evaluator import Evaluator


@dataclass(frozen=True, slots=True)
class Loading:
    """How pictures get from their files to the model.

    Attributes:
        loader: "auto", "torch", "dali" or "resident".
        threads: that decode; None for the job's, or one a processor.
        cache: whether training pictures are kept once decoded: "auto", "off", a size or a folder; see
            :func:`xraycls.loaders.cache.cache_settings`.
    """

    loader: str = "auto"
    threads: int | None = None
    cache: str = "auto"


def start_detector(job: DetectionJob, weights: Path | None, key: str, reporter: Reporter) -> Detector:
    """Returns a new detector, or a given one: a pruned model keeps its narrow layers.

    The weights decide whose arithmetic the backbone has: it computes what they have learnt with.

    Args:
        job: what to train.
        weights: what to start from: a detector, a classifier's weights or a Keras file of TAO; None for random ones.
        key: of an encrypted model.
        reporter: is told what came from where.

    Raises:
        XrayclsError: the weights can't be read, or are of a network that can't become this one.
    """
    keras = weights is not None and is_keras_file(weights)
    classifier = weights is not None and not keras and is_classifier(weights)
    given = load_detector(weights, key=key)[0] if weights and not keras and not classifier else None
    config = job.detector
    if classifier or given:
        config = replace(config, arithmetic=given.config.arithmetic if given else "torchvision")
    torch.manual_seed(job.loop.seed)
    detector = build_detector(config)
    lines: Sequence[str] = ["All weights are random."]
    if weights and keras:
        lines = start_from_keras(detector, weights)
    elif weights and classifier:
        said = f"The backbone computes as torchvision's and timm's do, which {weights.name} expects."
        lines = [said, *transfer_classifier(detector, weights)]
    elif given:
        if given.config.architecture() == detector.config.architecture():
            given.config = detector.config
            detector, lines = given, [f"The network and its weights come from {weights}."]
        elif pruning_of(given).layers:
            raise UsageError(
                f"{weights} is a pruned model, and what is asked for is another network than it was pruned from",
                "Give the network, the size and the classes that it was trained with",
            )
        else:
            lines = transfer_detector(detector, given)
    if plan_of(detector.net) and not job.qat:
        remove_quantization(detector.net)
        lines = [*lines, "It was trained for 8 bits (QAT): its ranges are left out."]
    if job.qat and not plan_of(detector.net):
        blank = torch.zeros(1, 1, config.height, config.width, dtype=torch.uint8)
        lines = [*lines, simulate_8_bits(detector, blank)]
    for line in lines:
        reporter.message(line)
    detector.freeze(job.freeze_blocks, job.freeze_bn)
    return detector


def build_training(
    job: DetectionJob,
    data: BoxTables,
    detector: Detector,
    run: RunFolder,
    runtime: Runtime,
    messages: Messages,
    key: str,
    loading: Loading,
    reporter: Reporter,
) -> Training:
    """Returns the training of a job: loaders, task, optimiser and rate, wired to the loop.

    Args:
        job: what to train.
        data: its pictures.
        detector: of :func:`start_detector`.
        run: where everything is written.
        runtime: device, precision and world.
        messages: ways out in errors of the loop.
        key: encrypts the weights; "" for none.
        loading: how pictures are read.
        reporter: is told what the user should know of it.

    Raises:
        XrayclsError: data and settings don't go together.
    """
    engine = choose_engine(loading.loader, data.table, runtime.device)
    if said := notice(engine, runtime.device):
        reporter.message(said)
    # What is validated with comes from its files, as when the model is evaluated later: the figures are the same.
    cache = picture_cache(loading.cache, data.training, job.recipe.canvas)
    if cache and (engine == "torch" or (engine == "dali" and runtime.device.type == "cpu")):
        reporter.message("Decoded pictures are kept for later epochs; --cache off decodes every file again.")
    memory_format = memory_format_of_detectors(runtime.device, runtime.precision, detector)
    detector.to(device=runtime.device, memory_format=memory_format)  # type: ignore[call-overload]
    loader = partial(
        build_loader,
        recipe=job.recipe,
        device=runtime.device,
        engine=loading.loader,
        seed=job.loop.seed,
        rank=runtime.world.rank,
        world=runtime.world.size,
        threads=loading.threads or job.threads,
        progress=reporter.preparing,
    )

    def objects(table: SampleTable) -> ObjectTable:
        return ObjectTable(table, data.classes, outlines=job.detector.learns_masks)

    batches = loader(
        data.training,
        batch_size=job.batch_size,
        training=True,
        objects=objects(data.training),
        weights=np.array(data.weights) if data.weights else None,
        cache=cache,
    )
    validated, judged_as = len(data.validation) > 0, job.judging_recipe(detector)
    validation = (
        loader(
            data.validation,
            recipe=judged_as,
            batch_size=job.evaluation.batch_size,
            training=False,
            objects=objects(data.validation),
        )
        if validated
        else None
    )
    detector.prepare(len(batches), job.batch_size)
    evaluator = Evaluator.of(
        data.validation, data.classes, judged_as, job.evaluation, job.detector.suppression.confidence
    )
    loop = job.loop if validated else replace(job.loop, monitor="train_loss", higher_is_better=False)
    save = partial(_save, key=key, bits=depth_of(data.table))
    return Training(
        detector,
        Detection(job.regularizer, evaluator.figures, save),
        batches,
        validation,
        loop,
        run,
        runtime,
        reporter,
        messages,
        _Multiplied(job.rate, runtime.world.size),
        job.optimizer.build(
            detector.parameters(),
            job.rate.at(0, len(batches) * loop.epochs),
            detector.net.get_submodule("backbone").parameters(),
        ),
        seal=partial(encrypt, key=key) if key else None,
    )


@dataclass(frozen=True, slots=True)
class _Multiplied:
    """A learning rate times the number of processes, as TAO multiplies it."""

    rate: Any
    factor: int

    def at(self, step: int, steps: int, plateaus: int = 0) -> float:
        return float(self.rate.at(step, steps, plateaus)) * self.factor


def _save(detector: Detector, path: Path, settings: dict[str, str], *, key: str, bits: int | None) -> None:
    save_detector(detector, path, key=key, extra=settings | ({"bits": str(bits)} if bits else {}))
