"""Cross-validation of a classifier: every patient is tested by a network that learned from the others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack, cast

import numpy as np

from xraycls.data.assign import held_out_of
from xraycls.data.lock import sole_writer
from xraycls.data.processors import limited_to
from xraycls.errors import RunError, UsageError
from xraycls.evaluation.cases import FloatArray
from xraycls.evaluation.thresholds import format_threshold
from xraycls.inference.ensemble_file import EnsembleFile
from xraycls.inference.load import load_classifier_model
from xraycls.inference.predictor import Predictor
from xraycls.training.config import TrainConfig, TrainSettings, parse_config
from xraycls.training.distributed import current_world
from xraycls.training.interrupt import Interrupted
from xraycls.training.precision import choose_device
from xraycls.training.reporter import Reporter, Silent
from xraycls.training.run_folder import RunFolder, new_run
from xraycls.workflows.run_data import RunData
from xraycls.workflows.settings import resolved
from xraycls.workflows.test import Tested, TestResult, evaluate_tested, predict_table, write_tested
from xraycls.workflows.train import TrainResult, train_on


@dataclass(frozen=True, slots=True)
class FoldsResult:
    """The trainings of all folds, and what they are worth together.

    Attributes:
        folder: holds ``fold-1``, ``fold-2``, … and the files of the pooled test; as a model's name, all runs as one.
        runs: one a fold.
        test: every image of the folds as the network predicts it that was neither trained nor chosen with it.
    """

    folder: Path
    runs: tuple[TrainResult, ...]
    test: TestResult


def train_folds(
    *,
    output: Path | str | None = None,
    resume: Path | str | None = None,
    reporter: Reporter | None = None,
    resamples: int = 2000,
    **settings: Unpack[TrainSettings],
) -> FoldsResult:
    """Train a classifier for each fold of the patients, and test every image by one that doesn't know its patient.

    Of ``folds`` parts the first run holds out the first, chooses its weights and threshold on the second and learns
    from the others, and so on. What is held out is predicted at the run's own threshold, and all predictions together
    make one report, whose intervals resample patients. A test split of the data stays out of it. The data is read,
    decoded and recognised once for all runs.

    Args:
        output: the folder of all; None makes a new one below ``runs/``.
        resume: "auto" or a folder: go on with the folds in ``output`` or in the folder; finished ones stay as they are.
        reporter: is told of every step and epoch.
        resamples: of the bootstrap, for the intervals.
        **settings: as of :func:`xraycls.train`, ``folds`` among them.

    Raises:
        XrayclsError: one sentence for whatever the user can mend.
        Interrupted: Ctrl-C; the state is saved.

    Example:
        >>> import xraycls
        >>> result = xraycls.train_folds(
        ...     data="phantom", folds=3, output="runs/folds", weights="none", size=32, epochs=1, batch_size=4
        ... )
        >>> [each.run.path.name for each in result.runs], result.test.report.n
        (['fold-1', 'fold-2', 'fold-3'], 17)
    """
    config = resolved(parse_config(settings))
    folds = _checked(config)
    folder = _folder(output, resume, config)
    reporter = reporter or Silent()
    data, runs = RunData(), []
    with sole_writer(folder):
        for number in range(folds):
            run = RunFolder(folder).fold(number)
            reporter.message(f"Fold {number + 1} of {folds}: {run.path}")
            goes_on = "auto" if resume and run.exists() else None
            try:
                runs.append(
                    train_on(
                        data,
                        _settings_of(folder, number, settings, goes_on=goes_on is not None),
                        output=run.path,
                        resume=goes_on,
                        reporter=reporter,
                    )
                )
            except Interrupted as stopped:
                raise Interrupted(
                    f"Fold {number + 1}: {stopped.message}",
                    f"All is saved; go on with --folds {folds} --resume {folder}",
                ) from stopped
        with limited_to(config.threads):
            test = _pooled(folder, runs, data, reporter, resamples)
        EnsembleFile(tuple(str(each.run.path) for each in runs), (1 / folds,) * folds).write(folder)
    return FoldsResult(folder, tuple(runs), test)


def _checked(config: TrainConfig) -> int:
    """The number of folds; raises UsageError where they can't be trained."""
    if config.folds is None:
        raise UsageError("folds says how many folds there are", "Give 3 or more, usually 5")
    if config.fold is not None:
        raise UsageError(f"fold={config.fold} is one run, and this trains all", "Leave it out, or call xraycls.train")
    if config.gpus > 1 or current_world().size > 1:
        raise UsageError(
            f"--folds trains one fold after the other in one process, and --gpus {config.gpus} asks for more",
            "Train them side by side, a GPU each: xraycls sweep train … "
            f"--set folds={config.folds} --over fold={','.join(map(str, range(config.folds)))} --workers {config.gpus}",
        )
    return config.folds


def _folder(output: Path | str | None, resume: Path | str | None, config: TrainConfig) -> Path:
    if output and RunFolder(Path(output)).exists():
        raise UsageError(f"{output} already holds a run", "Choose another --output")
    if resume is None:
        return Path(output) if output else new_run(config.base_model).path
    folder = Path(output) if str(resume) == "auto" and output else Path(resume)
    if str(resume) == "auto":
        if output is None:
            raise UsageError("--resume auto doesn't say which folds to go on with", "Name their folder with --output")
        return folder
    if not RunFolder(folder).fold(0).exists():
        raise RunError(f"Nothing to resume: {folder} holds no folds", "Leave out --resume to start anew")
    return folder


def _settings_of(folder: Path, number: int, given: TrainSettings, *, goes_on: bool) -> TrainSettings:
    """The settings of a fold; one that starts after an interruption takes those of the first that aren't named."""
    first = RunFolder(folder).fold(0)
    before: dict[str, Any] = {}
    if number and not goes_on and first.exists():
        before = first.read_config().model_dump()
    return cast(TrainSettings, {**before, **given, "fold": number})


def _pooled(folder: Path, runs: list[TrainResult], data: RunData, reporter: Reporter, resamples: int) -> TestResult:
    """Test every run on the fold that it holds out, and report on all together."""
    parts: list[Tested] = []
    thresholds: list[float | None] = []
    at: list[FloatArray] = []
    table = data.table(runs[0].config)
    for each in runs:
        config = each.config
        trained = load_classifier_model(each.run.path, choose_device(config.device))
        samples = data.table(config)
        predictor = Predictor(
            model=trained,
            batch_size=config.batch_size,
            precision=config.precision,
            loader=config.loader,
            threads=config.threads,
            strict=config.strict,
            cache=data.cache(config, samples, trained.recipe.canvas),
        )
        part = predict_table(trained, predictor, held_out_of(samples), reporter.preparing)
        parts.append(part)
        thresholds.append(trained.threshold)
        own = trained.thresholds if trained.thresholds is not None else (trained.threshold or np.nan,)
        at.append(np.tile(np.asarray(own, np.float64), (len(part.table), 1)))
    pooled = Tested.joined(table, parts)
    chosen = np.concatenate(at)[pooled.readable]
    report = evaluate_tested(
        pooled,
        threshold=None if None in thresholds else chosen[:, 0],
        thresholds=chosen if table.findings else None,
        resamples=resamples,
    )
    metadata: dict[str, Any] = {
        "model": runs[0].config.base_model,
        "weights": ", ".join(str(each.run.best) for each in runs),
        "split": f"{len(runs)} folds, each predicted by the run that was neither trained nor chosen with it",
    }
    if not table.findings and None not in thresholds:
        named = ", ".join(format_threshold(each) for each in thresholds if each is not None)
        metadata["threshold"] = f"of each fold its own ({named}); tables and pictures name the mean over the images"
    settings = runs[0].config.model_dump(mode="json", exclude={"fold"})
    files = write_tested(pooled, report, folder, metadata, settings=settings)
    return TestResult(report, files, pooled.failures)
