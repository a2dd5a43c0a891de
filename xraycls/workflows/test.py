"""Test a trained classifier on a labelled split."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xraycls.data.class_names import plain_class
from xraycls.data.classes import suggested_map
from xraycls.data.files import require_writable
from xraycls.data.findings import with_findings
from xraycls.data.image import GreyImage
from xraycls.data.open import open_image
from xraycls.data.options import AS_IT_IS, ReadOptions
from xraycls.data.remote import local_copy
from xraycls.data.source import read_table
from xraycls.data.subgroups import Grouping, groupings_of
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, RunError
from xraycls.evaluation.cases import BoolArray, FloatArray
from xraycls.evaluation.findings import FindingsReport, evaluate_findings
from xraycls.evaluation.findings_page import write_findings_report
from xraycls.evaluation.report import Report, evaluate
from xraycls.evaluation.subgroups import Subgroup, evaluate_subgroups, subgroup_warnings
from xraycls.evaluation.write import write_report
from xraycls.inference.choose import open_classifiers, predictor_of_classifier
from xraycls.inference.ensemble import Ensemble
from xraycls.inference.tta import described_moves
from xraycls.training.config import read_config
from xraycls.types import Prediction, Split
from xraycls.version import __version__
from xraycls.workflows.prevalence import with_prevalence
from xraycls.workflows.resume import check_same_data, in_order_of
from xraycls.workflows.run_data import run_table
from xraycls.workflows.seen import moved, splits_of_run, without_seen

if TYPE_CHECKING:
    from xraycls.inference.classification import TrainedModel
    from xraycls.inference.ensemble import ProbabilityPredictor
    from xraycls.inference.exported_predictor import ExportedModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TestResult:
    """A finished test.

    Attributes:
        report: every figure with its interval.
        files: what was written: test.json, predictions.csv, report.html and the pictures.
        unreadable: file → why it was left out.
        subgroups: the figures of groups of images, such as women and men.
    """

    __test__ = False  # not a test case for pytest

    report: Report | FindingsReport
    files: list[Path]
    unreadable: dict[str, str]
    subgroups: tuple[Subgroup, ...] = ()


def test(
    model: str | Path | Sequence[str | Path],
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
    runtime: str = "auto",
    strict: bool = False,
    resamples: int = 2000,
    unseen_only: bool = False,
    tta: str | None = None,
    subgroups: str | None = None,
    prevalence: str | None = None,
    options: ReadOptions = AS_IT_IS,
    progress: Callable[[int, int], None] | None = None,
) -> TestResult:
    """Test on a split of the data a run was trained with, or on other data.

    Args:
        model: a run folder, a model's name or a weights file, as :func:`xraycls.load_model`; of several, the mean of
            their probabilities is tested, on the data of the first.
        data: other data; its ``split`` is taken, or all of it when it has no splits of its own.
        images: the folder that a CSV's paths are relative to.
        split: the split to test on.
        output: where to write; the run folder for its own test split, else ``test-<data>-<split>`` within it.
        device: as in training.
        batch_size: images at a time.
        precision: as in training.
        loader: the engine, as in training; it may be another one.
        threads: decoding threads.
        runtime: "auto", "torch", "onnxruntime", "openvino" or "tensorrt"; exported folders need no torch.
        strict: stop at a file that can't be read.
        resamples: of the bootstrap, for the intervals.
        unseen_only: leave out the images that the run was trained or chosen with, by content.
        tta: views whose probabilities are averaged, as of :func:`xraycls.predict`; thresholds stay those of one view.
        subgroups: what groups of images are told apart by, such as "sex,age" or the names of columns; None for age,
            sex, view, site and scanner where the table or DICOM headers tell them, "none" for no groups.
        prevalence: correct probabilities for another prevalence than that of the training, such as "0.05" or
            "Edema=0.05,Mass=0.01"; thresholds move with them, so that the same images are called.
        options: how other data is to be read.
        progress: told of (images done, images).

    Raises:
        UsageError: nothing tells groups that were asked for, or no such prevalence.
        RunError: no such run, or one of other classes.
        DataError: no labelled images in the split.

    Example:
        >>> import xraycls
        >>> result = xraycls.test("runs/first", resamples=100)
        >>> 0 <= result.report.figures.overall["auroc"].value <= 1
        True
        >>> result.files[-1].name
        'test.json'
    """
    models = [model] if isinstance(model, str | Path) else model
    opened = open_classifiers(models, runtime=runtime, device=device, precision=precision)
    trained = with_prevalence(opened, prevalence)
    predictor = predictor_of_classifier(
        trained, batch_size=batch_size, precision=precision, loader=loader, threads=threads, strict=strict, tta=tta
    )
    given = None if data is None else local_copy(Path(data), alone=images is not None)
    table, seen = _table(trained, given, images, split, strict, options, unseen_only)
    groupings = groupings_of(table, subgroups)
    folder = output or _folder(trained, given, split)
    require_writable(folder)
    tested = predict_table(trained, predictor, table, progress)
    report = evaluate_tested(tested, threshold=trained.threshold, thresholds=trained.thresholds, resamples=resamples)
    grouped = _grouped(tested, report, groupings, resamples)
    metadata: dict[str, Any] = {"model": trained.network, "weights": str(trained.weights), "split": split}
    if isinstance(trained, Ensemble):
        told = zip(tested.predictions, seen.tolist(), strict=True)
        tested = replace(tested, predictions=[replace(each, seen=is_seen) for each, is_seen in told])
        metadata["shares"] = list(trained.shares)
        metadata["unseen_by_all_members"] = int(np.count_nonzero(~seen))
        logger.info("No member was trained or chosen with %d of the %d images.", (~seen).sum(), len(seen))
    if views := described_moves(tta):
        metadata["tta"] = views
    if trained.adjustments:
        metadata["adjusted"] = "; ".join(dict.fromkeys(each.said for each in trained.adjustments))
        metadata["probabilities"] = [dict(each.described) for each in trained.adjustments]
    run = None if isinstance(trained, Ensemble) else trained.run
    files = write_tested(
        tested,
        report,
        folder,
        metadata,
        settings=read_config(run.config) if run else None,
        history=run.read_metrics() if run else (),
        subgroups=grouped,
    )
    return TestResult(report, files, tested.failures, tuple(grouped))


def _grouped(
    tested: Tested, report: Report | FindingsReport, groupings: Sequence[Grouping], resamples: int
) -> list[Subgroup]:
    """The figures of groups of the images that could be read, with a warning for those that lie apart."""
    kept = tested.readable
    read = tested.table.with_samples(tested.table[row] for row in kept)
    grouped = evaluate_subgroups(
        report,
        read.targets if read.findings else read.labels,
        tested.probabilities[kept],
        {each.name: [each.values[row] for row in kept] for each in groupings},
        groups=[sample.patient for sample in read],
        resamples=resamples,
    )
    for warning in subgroup_warnings(grouped):
        logger.warning("%s.", warning)
    return grouped


@dataclass(frozen=True, slots=True)
class Tested:
    """What a classifier says of a table.

    Attributes:
        table: the samples.
        predictions: one a sample.
        probabilities: float64 [n, C]; NaN where a picture could not be read.
        failures: name → why it could not be read.
    """

    table: SampleTable
    predictions: list[Prediction]
    probabilities: FloatArray
    failures: dict[str, str]

    @classmethod
    def joined(cls, table: SampleTable, parts: Sequence[Tested]) -> Tested:
        """Returns what several classifiers say of parts of a table."""
        return cls(
            table.with_samples(sample for part in parts for sample in part.table),
            [prediction for part in parts for prediction in part.predictions],
            np.concatenate([part.probabilities for part in parts]),
            {name: error for part in parts for name, error in part.failures.items()},
        )

    @property
    def readable(self) -> list[int]:
        """The rows that could be read."""
        return [row for row, sample in enumerate(self.table) if sample.name not in self.failures]


def predict_table(
    trained: TrainedModel | ExportedModel | Ensemble,
    predictor: ProbabilityPredictor,
    table: SampleTable,
    progress: Callable[[int, int], None] | None = None,
) -> Tested:
    """Returns what a classifier says of every sample of a table, whose classes are its own."""
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
    return Tested(table, predictions, probabilities, failures)


def evaluate_tested(
    tested: Tested,
    *,
    threshold: float | FloatArray | None,
    thresholds: Sequence[float] | FloatArray | None,
    resamples: int,
) -> Report | FindingsReport:
    """Returns the report on the pictures that could be read, with intervals by patient.

    Args:
        tested: what was predicted.
        threshold: of two classes; or float64 [m], that of each of the m pictures that could be read; None without one.
        thresholds: of findings, F of them; or float64 [m, F].
        resamples: of the bootstrap.

    Raises:
        DataError: none could be read.
    """
    table, kept = tested.table, tested.readable
    if not kept:
        raise DataError(f"None of the {len(table)} images of {table.root} could be read", table.root)
    read, probabilities = table.with_samples(table[row] for row in kept), tested.probabilities[kept]
    groups = [sample.patient for sample in read]
    if read.findings:
        return evaluate_findings(
            read.targets, probabilities, read.findings, thresholds=thresholds, groups=groups, resamples=resamples
        )
    return evaluate(read.labels, probabilities, read.classes, threshold=threshold, groups=groups, resamples=resamples)


def write_tested(
    tested: Tested,
    report: Report | FindingsReport,
    folder: Path,
    metadata: Mapping[str, Any],
    *,
    settings: Mapping[str, Any] | None = None,
    history: Sequence[Mapping[str, float]] = (),
    subgroups: Sequence[Subgroup] = (),
) -> list[Path]:
    """Write the files of a test, and return their paths; arguments as of :func:`xraycls.evaluation.write.write_report`.

    The table, its fingerprint, the date and the version join the metadata.
    """
    table = tested.table
    metadata = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "xraycls": __version__,
        "data": str(table.root),
        "dataset": table.fingerprint(),
        "unreadable": len(tested.failures),
        **metadata,
    }
    if isinstance(report, FindingsReport):
        return write_findings_report(
            report,
            tested.predictions,
            folder,
            metadata=metadata,
            settings=settings,
            history=history,
            subgroups=subgroups,
        )
    picture: Callable[[int], GreyImage] = lambda index: open_image(table[index]).pixels()  # noqa: E731
    return write_report(
        report,
        tested.predictions,
        folder,
        image_of=picture,
        metadata=metadata,
        settings=settings,
        history=history,
        subgroups=subgroups,
    )


def _table(
    trained: TrainedModel | ExportedModel | Ensemble,
    data: Path | None,
    images: Path | None,
    split: Split,
    strict: bool,
    options: ReadOptions,
    unseen_only: bool,
) -> tuple[SampleTable, BoolArray]:
    """The labelled samples to test on, with the model's class numbers, and which of them the model has seen."""
    run = trained.run
    config = run.read_config() if run else None
    if data is None and config is None:
        raise RunError(f"{trained.weights} is a bare weights file", "Say what to test it on with --data")
    own = run is not None and config is not None and (data is None or data.resolve() == config.data)
    if run and config and own:
        # Drawn splits are drawn again, which gives the same ones only for the same data.
        if config.data and not config.data.exists():
            raise moved(run, config.data)
        table = in_order_of(run, run_table(config.updated({"strict": strict or config.strict})))
        check_same_data(run, table)
    else:
        table = read_table(data, images=images, strict=strict, options=options)
        if run and (again := splits_of_run(run, table)):
            logger.info("%s holds the data that %s was trained on, so its splits are taken.", table.root, run.path)
            table, own = again, True
    if table.splits:
        chosen = table.split(split)
        if not len(chosen):
            raise DataError(f"{table.root} has no {split} split, only {', '.join(table.splits)}", table.root)
        table = chosen
    members = trained.members if isinstance(trained, Ensemble) else (trained,)
    for member in members[1:]:
        if member.run is None:
            logger.warning("%s belongs to no run, so nobody knows which images it has seen.", member.weights)
    runs = [member.run for member in members if member.run]
    table, seen = without_seen(runs, table, unseen_only=unseen_only, own=own)
    if trained.multi_label:
        return with_findings(table, trained.classes), seen
    return with_classes(table.single_label(), trained.classes), seen


def with_classes(table: SampleTable, classes: tuple[str, ...]) -> SampleTable:
    """The table with its labels as indices into a model's classes, matched by name in any spelling.

    Raises:
        RunError: the table has a class that the model doesn't know.
    """
    known = {plain_class(name): index for index, name in enumerate(classes)}
    strangers = [name for name in table.classes if plain_class(name) not in known]
    if strangers:
        mapping = suggested_map(strangers, classes)
        raise RunError(
            f"{table.root} holds the classes {', '.join(table.classes)}, but the model knows {', '.join(classes)}",
            f"Where they mean the same, rename them with --map {shlex.quote(mapping)}"
            if mapping
            else 'Rename them with --map "theirs=ours", or test a model that was trained on these classes',
        )
    renumbered = (s if s.label is None else replace(s, label=known[plain_class(table.classes[s.label])]) for s in table)
    return replace(table, samples=tuple(renumbered), classes=classes)


def _folder(trained: TrainedModel | ExportedModel | Ensemble, data: Path | str | None, split: Split) -> Path:
    if isinstance(trained, Ensemble):
        return Path.cwd() / f"test-ensemble-{split}"
    home = trained.run.path if trained.run else Path.cwd()
    if data is None:
        return home if split == "test" else home / f"test-{split}"
    return home / f"test-{Path(data).resolve().stem}-{split}"
