"""Parity: the same pictures through every engine, compared with those of the torch engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from xraycls.data.source import read_source
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError, XrayclsError, install_command
from xraycls.inference.load import load_classifier_model
from xraycls.loaders.choose import ENGINES, build_loader
from xraycls.loaders.dali_graph import is_installed
from xraycls.loaders.recipes.classification import Recipe, find_recipe
from xraycls.models.classifier import Classifier, build_classifier
from xraycls.training.memory import explained_out_of_memory
from xraycls.training.precision import choose_device
from xraycls.workflows.parity_report import VIEWS, Comparison, Drawn, Pair, Parity, View, compare

logger = logging.getLogger(__name__)

REFERENCE = "torch"
RANDOM = "ResNet18"
_CLASSES = ("first", "second")


class Backend(NamedTuple):
    """An engine and the device where it draws."""

    engine: str
    device: torch.device

    def __str__(self) -> str:
        return f"{self.engine} on {self.device}"


def parity(
    data: Path | str | None = None,
    *,
    images: int = 64,
    size: int | None = None,
    augment: str = "radiograph",
    model: str | Path | None = None,
    seed: int = 0,
    batch_size: int = 32,
    device: str = "auto",
    threads: int | None = None,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Parity:
    """Draw the same pictures with every engine that can run here, and compare them with those of torch.

    Every engine goes through an epoch of evaluation pictures and one of training views, as in a training. The model
    computes in fp32, so that what differs comes from the pictures alone.

    Args:
        data: as for training; None for the phantom.
        images: how many pictures, drawn alike from all classes.
        size: side of the pictures, pixels; None for the model's own, or 224.
        augment: recipe of the training views.
        model: a run folder, a model's name or a weights file; None for a ResNet-18 with random weights.
        seed: of the choice of pictures, of their order and views, and of random weights.
        batch_size: pictures at a time.
        device: where the model computes; a CUDA device adds the engines that draw on it.
        threads: decoding threads.
        strict: stop at a file that can't be read.
        progress: told of (pictures done, pictures).

    Raises:
        UsageError: fewer than one picture, or a size that the model doesn't take.
        DataError: no picture can be read; with ``strict``, one can't.
        RunError: no such model.
        XrayclsError: no engine but torch can draw these pictures here.
    """
    if images < 1:
        raise UsageError(f"{images} pictures leave nothing to compare", "Give 1 or more, such as 64")
    chosen = choose_device(device)
    trained = None if model is None else load_classifier_model(model, chosen).classifier
    recipe = find_recipe(augment, size or (224 if trained is None else trained.size))
    if trained is not None and trained.size != recipe.size:
        raise UsageError(f"{model} takes pictures of {trained.size} pixels, not of --size {size}", "Leave out --size")
    table = _spread(read_source(None if data is None else Path(data), strict=strict, progress=progress), images, seed)
    names = [table.name_of(sample) for sample in table]
    backends, absent = _backends(chosen)
    options = {"batch_size": min(batch_size, len(table)), "seed": seed, "threads": threads, "strict": strict}
    draw = _Painter(table, recipe, options, len(VIEWS) * (1 + len(backends)), progress)
    found: list[tuple[Comparison, Pair]] = []
    with _each_warning_once(), explained_out_of_memory(f"Try --batch-size {max(batch_size // 2, 1)}", batch_size):
        reference = draw(Backend(REFERENCE, chosen))
        plain, readable = reference["evaluation"], reference["evaluation"].readable
        if not readable.any():
            raise DataError(f"None of the {len(table)} pictures taken from {table.root} can be read", table.root)
        classifier = trained or random_classifier(
            plain.pictures[readable], seed=seed, batch_size=batch_size, device=chosen
        )
        logits = {view: logits_of(classifier, reference[view].pictures, batch_size) for view in VIEWS}
        for backend in backends:
            try:
                other = draw(backend)
            except DataError:
                raise
            except XrayclsError as error:
                absent[str(backend)] = str(error)
                continue
            for view in VIEWS:
                pictures = reference[view], other[view]
                both = logits[view], logits_of(classifier, other[view].pictures, batch_size)
                found.append(compare(str(backend), view, pictures, both, names, judge_top1=trained is not None))
    if not found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
        raise XrayclsError(f"No engine but {REFERENCE} can draw these pictures here ({reasons})")
    return Parity(
        data=table.root,
        images=len(table),
        size=recipe.size,
        augment=augment,
        seed=seed,
        reference=REFERENCE,
        model=str(model or f"{RANDOM} with random weights"),
        is_trained=trained is not None,
        comparisons=tuple(comparison for comparison, _ in found),
        absent=absent,
        unreadable={names[row]: plain.failures[table[row].name] for row in np.flatnonzero(~readable).tolist()},
        worst=max((pair for _, pair in found), key=lambda pair: pair.comparison.worst),
    )


def _spread(table: SampleTable, count: int, seed: int) -> SampleTable:
    """So many samples, as equally from every class as there are, in their order; all of them where there are fewer."""
    if count > len(table):
        logger.warning("%s holds %d pictures only; all of them are compared.", table.root, len(table))
    labels = table.labels
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty_like(labels)  # of each sample within its class
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        turn[members] = np.arange(len(members))
    rows = np.lexsort((labels, turn))[:count]
    return table.with_samples(table[row] for row in np.sort(rows).tolist())


def _backends(device: torch.device) -> tuple[list[Backend], dict[str, str]]:
    """What can run here beside the reference, and why the rest can't."""
    found, absent = [], {}
    for chosen in (torch.device("cpu"), device if device.type == "cuda" else torch.device("cuda")):
        for engine in (name for name in ENGINES if name not in ("auto", REFERENCE)):
            backend = Backend(engine, chosen)
            if chosen.type == "cuda" and not torch.cuda.is_available():
                absent[str(backend)] = "no CUDA GPU"
            elif chosen.type == "cuda" and device.type != "cuda":
                absent[str(backend)] = f"not with --device {device}"
            elif engine == "dali" and not is_installed():
                absent[str(backend)] = f"not installed: {install_command('dali')}"
            else:
                found.append(backend)
    return found, absent


class _Painter:
    """Draws a table with one engine after another; says how far it is.

    Args:
        table: the samples.
        recipe: of the training views.
        options: the rest of what :func:`build_loader` takes.
        epochs: that will be drawn in all.
        progress: told of (pictures done, pictures).
    """

    def __init__(
        self,
        table: SampleTable,
        recipe: Recipe,
        options: dict[str, Any],
        epochs: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.table = table
        self.recipe = recipe
        self.options = options
        self.total = epochs * len(table)
        self.done = 0
        self.progress = progress

    def __call__(self, backend: Backend) -> dict[View, Drawn]:
        """An epoch of either view.

        Raises:
            UsageError: the engine can't work here.
            MissingExtra: its package can't be imported.
            DataError: a file that can't be read, where that is asked for.
        """
        return {view: self._epoch(backend, view) for view in VIEWS}

    def _epoch(self, backend: Backend, view: View) -> Drawn:
        loader = build_loader(
            self.table,
            self.recipe,
            engine=backend.engine,
            device=backend.device,
            training=view == "training",
            **self.options,
        )
        count, size = len(self.table), self.recipe.size
        pictures, readable = np.zeros((count, size, size), np.uint8), np.zeros(count, np.bool_)
        for batch in loader:
            kept = batch.weights.numpy() > 0
            rows = batch.indices.numpy()[kept]
            pictures[rows] = batch.images.cpu().numpy()[kept, 0]
            readable[rows] = True
            self.done += len(rows)
            if self.progress:
                self.progress(self.done, self.total)
        return Drawn(pictures, readable, loader.failures)


@contextmanager
def _each_warning_once() -> Iterator[None]:
    """Let a file that no engine can read be told of once, not by every engine."""
    logged = set[str]()

    def is_new(record: logging.LogRecord) -> bool:
        before = len(logged)
        logged.add(record.getMessage())
        return len(logged) > before

    loaders = logging.getLogger("xraycls.loaders.engine")
    loaders.addFilter(is_new)
    try:
        yield
    finally:
        loaders.removeFilter(is_new)


def logits_of(classifier: Classifier, pictures: npt.NDArray[np.uint8], batch_size: int) -> npt.NDArray[np.float64]:
    """Logits in fp32 of pictures uint8 [n, S, S]: float64 [n, C]."""
    device = next(classifier.parameters()).device
    batches = torch.split(torch.from_numpy(pictures)[:, None], batch_size)
    with torch.inference_mode():
        return torch.cat([classifier(batch.to(device)).cpu().double() for batch in batches]).numpy()


def random_classifier(
    pictures: npt.NDArray[np.uint8], *, seed: int, batch_size: int, device: torch.device
) -> Classifier:
    """A ResNet-18 with random weights whose logits have mean 0 and deviation 1 over some pictures.

    As it is initialised, a random network says nearly the same of all radiographs. Scaled so, a difference of
    logits is a share of how far pictures lie apart, and the classes are about as frequent as each other, so that
    top-1 can change at all.

    Args:
        pictures: uint8 [n, S, S].
        seed: of the weights.
        batch_size: pictures at a time.
        device: where it computes.

    Raises:
        UsageError: the network takes no pictures of this size.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        classifier, _ = build_classifier(RANDOM, _CLASSES, weights="none", size=pictures.shape[-1])
    classifier.to(device).eval()
    logits = torch.from_numpy(logits_of(classifier, pictures, batch_size))
    deviation, mean = torch.std_mean(logits, dim=0, correction=0)
    deviation[deviation == 0] = 1.0  # of a single picture
    head = classifier.net.get_submodule(classifier.head)
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight /= deviation.to(head.weight)[:, None]
        head.bias.copy_(-mean / deviation)  # a new head's own is zero
    return classifier
