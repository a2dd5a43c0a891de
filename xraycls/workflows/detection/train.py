"""Train a detector from a spec: data → loaders → detector → training → TAO's results folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from xraycls.data.files import remove_leftovers
from xraycls.data.table import SampleTable
from xraycls.errors import UsageError
from xraycls.loaders.choose import build_loader, choose_engine, notice
from xraycls.loaders.objects import ObjectTable
from xraycls.models.detection.base import Detector
from xraycls.models.detection.files import find_model, load_detector, model_suffix, pruning_of, save_detector
from xraycls.models.detection.registry import build_detector
from xraycls.models.detection.ssd import SSDDetector, set_momentum
from xraycls.models.detection.transfer import is_classifier, transfer_classifier, transfer_detector
from xraycls.models.encryption import encrypt
from xraycls.tao.mounts import Mounts
from xraycls.tao.programs import open_spec
from xraycls.tao.report import FieldReport, exceptions, headline, mapping_report
from xraycls.tao.results import Results, TaoReporter, reported
from xraycls.tao.spec import Spec
from xraycls.tao.ssd import SSDSpec
from xraycls.tao.ssd_config import SSDSetup
from xraycls.tao.ssd_setup import ssd_setup
from xraycls.tao.status import StatusLog
from xraycls.training.annealing import SoftStartAnnealing
from xraycls.training.config import parse_config
from xraycls.training.detection import Detection, Regularizer
from xraycls.training.distributed import current_world, joined
from xraycls.training.early_stopping import EarlyStopping
from xraycls.training.loop import Hints, Outcome, Place, Training
from xraycls.training.memory import explained_out_of_memory
from xraycls.training.precision import choose_device, choose_precision
from xraycls.training.reporter import Reporter, Silent
from xraycls.training.run_folder import RunFolder
from xraycls.training.tensorboard import TensorBoardReporter
from xraycls.types import Detections
from xraycls.workflows.detection.checkpoints import Checkpoints
from xraycls.workflows.detection.data import DetectionData, count_learnable, read_data
from xraycls.workflows.detection.exam import Exam
from xraycls.workflows.detection.resume import check_folder, go_on

_MOMENTUM = 0.9  # TAO's SSD always trains by SGD with this
_WITHOUT_END = 10**6  # epochs of patience where the spec names no early stopping
_HINTS = Hints(
    not_finite="Lower max_learning_rate in the spec, or use --precision fp32",
    stopped="All is saved; go on with the same command and --continue",
)


@dataclass(frozen=True, slots=True)
class DetectionTraining:
    """A finished training.

    Attributes:
        results: its folder.
        model: of the last epoch.
        outcome: epochs, best epoch and whether it stopped early.
        setup: what the spec said, with what the command line changed.
    """

    results: Path
    model: Path
    outcome: Outcome
    setup: SSDSetup


def train_ssd(
    spec: Path,
    results: Path,
    *,
    key: str = "",
    weights: Path | None = None,
    initial_epoch: int = 1,
    resume: bool = False,
    epochs: int | None = None,
    size: tuple[int, int] | None = None,
    batch_size: int | None = None,
    mounts: Mounts | None = None,
    device: str = "auto",
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    reporter: Reporter | None = None,
) -> DetectionTraining:
    """Train an SSD as ``tao ssd train`` does, and leave the same files.

    Args:
        spec: a spec of SSD or DSSD in any dialect.
        results: the results folder.
        key: encrypts the weights; "" for none.
        weights: what to start from: a detector, pruned or not, or a classifier's weights for the backbone.
        initial_epoch: above 1, the training in ``results`` or else that of ``weights`` goes on with this epoch.
        resume: the training in ``results`` goes on wherever it was stopped.
        epochs: instead of the spec's.
        size: width and height of the input, instead of the spec's.
        batch_size: images a process, instead of the spec's.
        mounts: where folders of TAO's container lie here.
        device: as in ``xraycls train``.
        precision: likewise.
        loader: likewise.
        threads: likewise.
        reporter: is told of every step and epoch.

    Raises:
        XrayclsError: one sentence for whatever the user can mend.
        Interrupted: Ctrl-C; the state is saved.
    """
    opened = open_spec(spec, SSDSpec)
    setup = ssd_setup(opened, mounts).with_training(epochs, batch_size)
    if size:
        setup = setup.resized(*size)
    folder = Results(results, setup.network.kind, setup.detector().backbone)
    goes_on = resume or initial_epoch > 1
    check_folder(folder, resume=goes_on)
    world, run = current_world(), RunFolder(results)
    job = _Job(setup, folder, run, _place(device, precision), key, loader, threads)
    if not world.is_main:  # one process talks to the user
        logging.getLogger("xraycls").setLevel(logging.ERROR)
        reporter = None
    told = reporter or Silent()
    with (
        joined(world, job.place.device),
        reported(results if world.is_main else None, "SSD training") as status,
    ):
        _tell(opened, mapping_report(opened, mounts), told, status)
        if changed := _changed(epochs, batch_size, size):
            told.message(f"The command line overrides the spec: {changed}.")
        data = read_data(setup.data)
        told.message(
            f"{len(data.training):,} training and {len(data.validation):,} validation images, "
            f"{count_learnable(setup, data.training):,} objects to learn: {', '.join(data.classes)}."
        )
        given = find_model(weights, key) if weights else None
        last = run.last if goes_on and run.last.is_file() else None
        detector = _start(setup, last or given, key, Silent() if goes_on else told)
        with explained_out_of_memory("Lower batch_size_per_gpu in the spec, or use --size", setup.training.batch_size):
            training = _training(job, data, detector, told)
            if goes_on:
                told.message(go_on(training, run, key, None if resume else initial_epoch, given))
            outcome = _train(job, training, data, told, status) if world.is_main else training.fit()
    model = folder.weights(int(outcome.rows[-1]["epoch"]), model_suffix(key))
    return DetectionTraining(results, model, outcome, setup)


@dataclass(frozen=True, slots=True)
class _Job:
    """What there is to do, and how: all that the spec and the command line say."""

    setup: SSDSetup
    folder: Results
    run: RunFolder
    place: Place
    key: str
    engine: str
    threads: int | None


def _place(device: str, precision: str) -> Place:
    world = current_world()
    chosen = choose_device(device, world.local_rank)
    return Place(chosen, choose_precision(precision, chosen), world)


def _tell(spec: Spec[SSDSpec], report: tuple[FieldReport, ...], reporter: Reporter, status: StatusLog) -> None:
    """What becomes of the fields of the spec, in short."""
    for line in (headline(spec, report), *(f"  {line}" for line in exceptions(report))):
        reporter.message(line)
    others = {each.field: f"{each.outcome}: {each.note}" for each in report if each.outcome != "honoured"}
    status.write(headline(spec, report), figures={"categorical": others})


def _changed(epochs: int | None, batch_size: int | None, size: tuple[int, int] | None) -> str:
    changed = {
        "num_epochs": epochs,
        "batch_size_per_gpu": batch_size,
        "width and height": size and f"{size[0]} × {size[1]}",
    }
    return ", ".join(f"{name} {value}" for name, value in changed.items() if value)


def _start(setup: SSDSetup, weights: Path | None, key: str, reporter: Reporter) -> Detector:
    """A new detector, or a given one: a pruned model keeps its narrow layers.

    The weights decide whose arithmetic the backbone has: it computes what they have learnt with.
    """
    classifier = weights is not None and is_classifier(weights)
    given = load_detector(weights, key=key)[0] if weights and not classifier else None
    config = setup.detector()
    if classifier or given:
        config = replace(config, arithmetic=given.config.arithmetic if given else "torchvision")
    torch.manual_seed(setup.seed)
    detector = build_detector(config)
    lines: Sequence[str] = ["All weights are random."]
    if weights and classifier:
        said = f"The backbone computes as torchvision's and timm's do, which {weights.name} expects."
        lines = [said, *transfer_classifier(detector, weights)]
    elif given:
        if given.config.architecture() == detector.config.architecture():
            given.config = detector.config
            detector, lines = given, [f"The network and its weights come from {weights}."]
        elif pruning_of(given).layers:
            raise UsageError(
                f"{weights} is a pruned model, and the spec describes another network than it was pruned from",
                "Give the spec, the --size and the classes that it was trained with",
            )
        else:
            lines = transfer_detector(detector, given)
    for line in lines:
        reporter.message(line)
    network = setup.network
    detector.freeze(network.freeze_blocks, network.freeze_bn)
    if setup.training.batch_size == 1 and (1, 1) in _map_sizes(detector):
        raise UsageError(
            f"One image at a time can't be trained at {network.width} × {network.height} pixels: the last map is a "
            "single number, and batch normalisation needs two",
            "Use --batch-size 2 or more, or a --size above 256",
        )
    return detector


def _map_sizes(detector: Detector) -> list[tuple[int, int]]:
    config = detector.config
    return detector.net.map_sizes(config.height, config.width) if isinstance(detector, SSDDetector) else []


def _train(job: _Job, training: Training, data: DetectionData, reporter: Reporter, status: StatusLog) -> Outcome:
    """Train, and write what TAO writes; for the process that writes."""
    remove_leftovers(job.run.path)
    settings = job.setup.training
    classes = data.classes if len(data.validation) else ()
    checkpoints = Checkpoints(
        TaoReporter(job.folder, status, settings.epochs, classes, reporter),
        job.run.last,
        partial(job.folder.weights, suffix=model_suffix(job.key)),
        settings.checkpoint_interval,
        settings.epochs,
    )
    training.reporter = checkpoints
    with ExitStack() as stack:
        if settings.visualize:
            board = TensorBoardReporter(job.folder.events, checkpoints, training.epoch)
            training.reporter = stack.enter_context(closing(board))
        outcome = training.fit()
    checkpoints.finish()
    return outcome


def _training(job: _Job, data: DetectionData, detector: Detector, reporter: Reporter) -> Training:
    """Wire loaders, task and schedule to the loop."""
    setup, place = job.setup, job.place
    said = notice(choose_engine(job.engine, data.table, place.device), place.device)
    if said:
        reporter.message(said)
    detector.to(device=place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    size = place.world.size
    loader = partial(
        build_loader,
        recipe=setup.recipe,
        device=place.device,
        engine=job.engine,
        seed=setup.seed,
        rank=place.world.rank,
        world=size,
        threads=job.threads,
        progress=reporter.preparing,
    )

    def objects(table: SampleTable) -> ObjectTable:
        return ObjectTable(table, data.classes)

    training = loader(
        data.training, batch_size=setup.training.batch_size, training=True, objects=objects(data.training)
    )
    set_momentum(detector.net, len(training))
    validated = len(data.validation) > 0
    stopping = setup.training.early_stopping
    monitor = {"loss": "train_loss", "validation_loss": "loss"}[stopping.monitor] if stopping else "mAP"
    config = parse_config(
        {
            "epochs": setup.training.epochs,
            "batch_size": setup.training.batch_size,
            "seed": setup.seed,
            "validate_every": setup.evaluation.every,
            "monitor": monitor if validated else "train_loss",
        }
    )
    rate = setup.training.learning_rate
    regularizer = Regularizer(setup.training.regularizer.type, setup.training.regularizer.weight)
    task = Detection(regularizer, _scorer(setup, data.validation), partial(_save, key=job.key))
    patience = stopping.patience if stopping else _WITHOUT_END
    return Training(
        detector,
        task,
        training,
        loader(
            data.validation, batch_size=setup.evaluation.batch_size, training=False, objects=objects(data.validation)
        )
        if validated
        else None,
        config,
        job.run,
        place,
        reporter,
        EarlyStopping(patience, stopping.min_delta if stopping else 0.0, higher_is_better=config.monitor == "mAP"),
        _HINTS,
        rate=SoftStartAnnealing(rate.lowest * size, rate.highest * size, rate.soft_start, rate.annealing),
        seal=partial(encrypt, key=job.key) if job.key else None,
        optimizer=torch.optim.SGD(_trainable(detector), lr=rate.lowest, momentum=_MOMENTUM, fused=True),
    )


def _trainable(detector: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in detector.parameters() if parameter.requires_grad]


def _scorer(setup: SSDSetup, validation: SampleTable) -> Callable[[Mapping[int, Detections]], Mapping[str, float]]:
    exam = Exam.of(validation, setup.data.classes, setup.recipe.canvas, setup.evaluation)

    def score(found: Mapping[int, Detections]) -> Mapping[str, float]:
        average = exam.average(found)
        return {"mAP": average.mean, **{f"AP_{name}": value for name, value in average.per_class.items()}}

    return score


def _save(detector: Detector, path: Path, settings: Mapping[str, str], *, key: str) -> None:
    save_detector(detector, path, key=key, extra=settings)
