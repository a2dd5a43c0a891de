"""Train a detector from a spec: data → loaders → detector → training → TAO's results folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from xraycls.data.files import remove_leftovers
from xraycls.data.table import SampleTable
from xraycls.errors import RunError, UsageError
from xraycls.loaders.choose import build_loader, choose_engine, notice
from xraycls.loaders.objects import ObjectTable
from xraycls.models.detection.detector import Detector, freeze
from xraycls.models.detection.files import find_model, load_detector, model_suffix, pruning_of, save_detector
from xraycls.models.detection.ssd import set_momentum
from xraycls.models.detection.transfer import is_classifier, transfer_classifier, transfer_detector
from xraycls.models.encryption import WrongKey, decrypt, encrypt
from xraycls.tao.mounts import Mounts
from xraycls.tao.results import Results, TaoReporter, reported
from xraycls.tao.spec import open_spec
from xraycls.tao.ssd import SSDSpec
from xraycls.tao.ssd_config import SSDSetup
from xraycls.tao.ssd_setup import ssd_setup
from xraycls.tao.status import StatusLog
from xraycls.training.annealing import SoftStartAnnealing
from xraycls.training.checkpoint import load_state
from xraycls.training.config import parse_config
from xraycls.training.detection import Detection, Found
from xraycls.training.distributed import current_world, joined
from xraycls.training.early_stopping import EarlyStopping
from xraycls.training.loop import Outcome, Place, Training
from xraycls.training.memory import explained_out_of_memory
from xraycls.training.precision import choose_device, choose_precision
from xraycls.training.reporter import Reporter, Silent
from xraycls.training.run_folder import RunFolder
from xraycls.training.tensorboard import TensorBoardReporter
from xraycls.workflows.detection.checkpoints import Checkpoints
from xraycls.workflows.detection.data import DetectionData, read_data, tell_small_boxes, truths_of
from xraycls.workflows.detection.evaluate import scored

_MOMENTUM = 0.9  # TAO's SSD always trains by SGD with this
_WITHOUT_END = 10**6  # epochs of patience where the spec names no early stopping


@dataclass(frozen=True, slots=True)
class DetectionTraining:
    """A finished training.

    Attributes:
        results: its folder.
        outcome: epochs, best epoch and whether it stopped early.
        setup: what the spec said, with what the command line changed.
    """

    results: Path
    outcome: Outcome
    setup: SSDSetup


def train_ssd(
    spec: Path,
    results: Path,
    *,
    key: str = "",
    weights: Path | None = None,
    initial_epoch: int = 1,
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
        initial_epoch: above 1, the training in ``results`` goes on with this epoch.
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
    setup = ssd_setup(open_spec(spec, SSDSpec), mounts).with_training(epochs, batch_size)
    if size:
        setup = setup.resized(*size)
    run = RunFolder(results)
    if run.state.is_file() and initial_epoch == 1:
        raise UsageError(
            f"{results} already holds a training", "Go on with --initial-epoch, or choose another --results-dir"
        )
    world = current_world()
    place = _place(device, precision)
    if not world.is_main:  # one process talks to the user
        logging.getLogger("xraycls").setLevel(logging.ERROR)
        reporter = None
    with joined(world, place.device), reported(results if world.is_main else None, "SSD training") as status:
        start = _start(setup, weights, key)
        outcome = _train(setup, run, place, start, key, initial_epoch, loader, threads, reporter or Silent(), status)
    return DetectionTraining(results, outcome, setup)


def _place(device: str, precision: str) -> Place:
    world = current_world()
    chosen = choose_device(device, world.local_rank)
    return Place(chosen, choose_precision(precision, chosen), world)


@dataclass(frozen=True, slots=True)
class _Start:
    """A detector to train, and what it started from."""

    detector: Detector
    lines: Sequence[str]


def _start(setup: SSDSetup, weights: Path | None, key: str) -> _Start:
    """A new detector, or a given one: a pruned model keeps its narrow layers."""
    torch.manual_seed(setup.seed)
    detector = Detector(setup.plan(), setup.suppression())
    if weights is None:
        return _Start(detector, ["All weights are random."])
    path = find_model(weights, key)
    if is_classifier(path):
        return _Start(detector, transfer_classifier(detector, path))
    given, _ = load_detector(path, key=key)
    if given.plan == detector.plan:
        given.suppression = setup.suppression()
        return _Start(given, [f"The network and its weights come from {path}."])
    if pruning_of(given).layers:
        raise UsageError(
            f"{path} is a pruned model, and the spec describes another network than it was pruned from",
            "Give the spec, the --size and the classes that it was trained with",
        )
    return _Start(detector, transfer_detector(detector, given))


def _train(
    setup: SSDSetup,
    run: RunFolder,
    place: Place,
    start: _Start,
    key: str,
    initial_epoch: int,
    engine: str,
    threads: int | None,
    reporter: Reporter,
    status: StatusLog,
) -> Outcome:
    detector = start.detector
    for line in start.lines:
        reporter.message(line)
    freeze(detector, setup.network.freeze_blocks, setup.network.freeze_bn)
    data = read_data(setup)
    tell_small_boxes(setup, data.training)
    reporter.message(
        f"{len(data.training):,} training and {len(data.validation):,} validation images, "
        f"{sum(len(s.boxes) for s in data.training):,} objects to learn: {', '.join(data.classes)}."
    )
    detector.to(device=place.device)
    with explained_out_of_memory("Lower batch_size_per_gpu in the spec, or use --size", setup.training.batch_size):
        training = _training(setup, data, detector, run, place, key, engine, threads, reporter)
        if initial_epoch > 1:
            _go_on(training, run, key, initial_epoch)
        results = Results(run.path, setup.network.kind, detector.plan.name)
        if place.world.is_main:
            remove_leftovers(run.path)
            classes = data.classes if len(data.validation) else ()
            reporter = TaoReporter(results, status, setup.training.epochs, classes, reporter)
            weights = partial(results.weights, suffix=model_suffix(key))
            reporter = Checkpoints(
                reporter, run.last, weights, setup.training.checkpoint_interval, setup.training.epochs
            )
        if not setup.training.visualize:
            training.reporter = reporter
            return training.fit()
        with closing(TensorBoardReporter(results.events, reporter, training.epoch)) as board:
            training.reporter = board
            return training.fit()


def _training(
    setup: SSDSetup,
    data: DetectionData,
    detector: Detector,
    run: RunFolder,
    place: Place,
    key: str,
    engine: str,
    threads: int | None,
    reporter: Reporter,
) -> Training:
    """Wire loaders, task and schedule to the loop."""
    said = notice(choose_engine(engine, data.table, place.device), place.device)
    if said:
        reporter.message(said)
    size = place.world.size
    loader = partial(
        build_loader,
        recipe=setup.recipe,
        device=place.device,
        engine=engine,
        seed=setup.seed,
        rank=place.world.rank,
        world=size,
        threads=threads,
        progress=reporter.preparing,
    )

    def objects(table: SampleTable) -> ObjectTable:
        return ObjectTable(table, data.classes, setup.recipe.seen)

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
    task = Detection(setup.loss(), _scorer(setup, data), partial(_save, key=key))
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
        run,
        place,
        reporter,
        EarlyStopping(patience, stopping.min_delta if stopping else 0.0, higher_is_better=config.monitor == "mAP"),
        rate=SoftStartAnnealing(rate.lowest * size, rate.highest * size, rate.soft_start, rate.annealing),
        seal=partial(encrypt, key=key) if key else None,
        optimizer=torch.optim.SGD(_trainable(detector), lr=rate.lowest, momentum=_MOMENTUM),
    )


def _trainable(detector: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in detector.parameters() if parameter.requires_grad]


def _scorer(setup: SSDSetup, data: DetectionData) -> Callable[[Sequence[Found]], Mapping[str, float]]:
    truths = truths_of(setup, data.validation) if len(data.validation) else []

    def score(found: Sequence[Found]) -> Mapping[str, float]:
        average = scored(setup, truths, found)
        return {"mAP": average.mean, **{f"AP_{name}": value for name, value in average.per_class.items()}}

    return score


def _save(detector: Detector, path: Path, settings: Mapping[str, str], *, key: str) -> None:
    save_detector(detector, path, key=key, extra=settings)


def _go_on(training: Training, run: RunFolder, key: str, initial_epoch: int) -> None:
    """Take up the training of the results folder."""
    try:
        state = load_state(run.state, partial(decrypt, key=key) if key else None)
    except WrongKey as error:
        raise UsageError(f"The key doesn't open {run.state}", "Give the one that the training began with") from error
    except ValueError as error:
        raise RunError(f"{run.state} is cut short or not encrypted ({error})", "Start a new training") from error
    if state["epoch"] != initial_epoch - 1:
        raise RunError(
            f"The training in {run.path} has finished {state['epoch']} epochs, so it goes on with epoch "
            f"{state['epoch'] + 1}, not {initial_epoch}",
            f"Give --initial-epoch {state['epoch'] + 1}",
        )
    training.load_state_dict(state)
