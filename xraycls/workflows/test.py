"""Test a trained classifier on a labelled split."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xraycls.data.image import GreyImage
from xraycls.data.open import open_image
from xraycls.data.source import read_table
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, RunError
from xraycls.evaluation.report import Report, evaluate
from xraycls.evaluation.write import write_report
from xraycls.inference.classification import TrainedModel
from xraycls.inference.load import load_model
from xraycls.inference.predictor import Predictor
from xraycls.training.precision import choose_device
from xraycls.training.run_folder import RunFolder
from xraycls.types import Prediction, Split
from xraycls.version import __version__
from xraycls.workflows.resume import check_same_data
from xraycls.workflows.train import run_table

logger = logging.getLogger(__name__)
_NAMED = 3


@dataclass(frozen=True, slots=True)
class TestResult:
    """A finished test.

    Attributes:
        report: every figure with its interval.
        files: what was written: test.json, predictions.csv, report.html and the pictures.
        unreadable: file → why it was left out.
    """

    __test__ = False  # not a test case for pytest

    report: Report
    files: list[Path]
    unreadable: dict[str, str]


def test(
    model: str | Path,
    *,
    data: Path | str | None = None,
    images: Path | None = None,
    split: Split = "test",
    output: Path | None = None,
    device: str = "auto",
    batch_size: int = 64,
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    strict: bool = False,
    resamples: int = 2000,
    progress: Callable[[int, int], None] | None = None,
) -> TestResult:
    """Test on a split of the data a run was trained with, or on other data.

    Args:
        model: a run folder, a model's name or a weights file, as :func:`xraycls.load_model`.
        data: other data; its ``split`` is taken, or all of it when it has no splits of its own.
        images: the folder that a CSV's paths are relative to.
        split: the split to test on.
        output: where to write; the run folder for its own test split, else ``test-<data>-<split>`` within it.
        device: as in training.
        batch_size: images at a time.
        precision: as in training.
        loader: the engine, as in training; it may be another one.
        threads: decoding threads.
        strict: stop at a file that can't be read.
        resamples: of the bootstrap, for the intervals.
        progress: told of (images done, images).

    Raises:
        RunError: no such run, or one of other classes.
        DataError: no labelled images in the split.
    """
    trained = load_model(model, choose_device(device))
    table = _table(trained, data, images, split, strict)
    predictor = Predictor(
        model=trained, batch_size=batch_size, precision=precision, loader=loader, threads=threads, strict=strict
    )
    probabilities = np.full((len(table), len(trained.classes)), np.nan)
    failures: dict[str, str] = {}
    predictions: list[Prediction] = []
    for result in predictor.over(table):
        predictions += trained.predictions([result])
        if result.output is None:
            failures[result.sample.name] = result.error or ""
        else:
            probabilities[result.index] = result.output
        if progress:
            progress(len(predictions), len(table))
    kept = [i for i, sample in enumerate(table) if sample.name not in failures]
    if not kept:
        raise DataError(f"None of the {len(table)} images of {table.root} could be read", table.root)
    report = evaluate(
        table.labels[kept],
        probabilities[kept],
        table.classes,
        threshold=trained.threshold,
        groups=[table[i].patient for i in kept],
        resamples=resamples,
    )
    folder = output or _folder(trained, data, split)
    metadata = {
        "xraycls": __version__,
        "model": trained.classifier.architecture.name,
        "weights": str(trained.weights),
        "data": str(table.root),
        "split": split,
        "dataset": table.fingerprint(),
        "unreadable": len(failures),
    }
    picture: Callable[[int], GreyImage] = lambda index: open_image(table[index]).pixels()  # noqa: E731
    files = write_report(report, predictions, folder, image_of=picture, metadata=metadata)
    return TestResult(report, files, failures)


def _table(
    trained: TrainedModel, data: Path | str | None, images: Path | None, split: Split, strict: bool
) -> SampleTable:
    """The labelled samples to test on, with the model's class numbers."""
    config = trained.run.read_config() if trained.run else None
    own = data is None or (config is not None and Path(data).resolve() == config.data)
    if own and config is None:
        raise RunError(f"{trained.weights} is a bare weights file", "Say what to test it on with --data")
    if own and config is not None and trained.run is not None:
        # Drawn splits are drawn again, which gives the same ones only for the same data.
        table = run_table(config.updated({"strict": strict or config.strict}))
        check_same_data(trained.run, table)
    else:
        table = read_table(Path(data) if data else None, images=images, strict=strict)
    if table.splits:
        chosen = table.split(split)
        if not len(chosen):
            raise DataError(f"{table.root} has no {split} split, only {', '.join(table.splits)}", table.root)
        table = chosen
    if trained.run and not own:
        _warn_of_trained_images(trained.run, table)
    return with_classes(table, trained.classifier.classes)


def with_classes(table: SampleTable, classes: tuple[str, ...]) -> SampleTable:
    """The table with its labels as indices into a model's classes, matched by name whatever the case.

    Raises:
        RunError: the table has a class that the model doesn't know.
    """
    known = {name.lower(): index for index, name in enumerate(classes)}
    strangers = [name for name in table.classes if name.lower() not in known]
    if strangers:
        raise RunError(
            f"{table.root} holds the classes {', '.join(table.classes)}, but the model knows {', '.join(classes)}",
            "Rename the class folders or labels, or test a model that was trained on these classes",
        )
    renumbered = (s if s.label is None else replace(s, label=known[table.classes[s.label].lower()]) for s in table)
    return replace(table, samples=tuple(renumbered), classes=classes)


def _warn_of_trained_images(run: RunFolder, table: SampleTable) -> None:
    seen = {name for name, split in run.read_samples().items() if split != "test"}
    known = [s.name for s in table if table.origin_of(s) in seen]
    if known:
        logger.warning(
            "%d of %d images were trained or chosen with, so the figures are too good: %s%s",
            len(known),
            len(table),
            ", ".join(known[:_NAMED]),
            ", …" if len(known) > _NAMED else "",
        )


def _folder(trained: TrainedModel, data: Path | str | None, split: Split) -> Path:
    home = trained.run.path if trained.run else Path.cwd()
    if data is None:
        return home if split == "test" else home / f"test-{split}"
    return home / f"test-{Path(data).resolve().stem}-{split}"
