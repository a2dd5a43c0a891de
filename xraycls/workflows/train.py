"""Train a classifier: data → loaders → model → training → a run folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from typing import ParamSpec, Unpack

import torch

from xraycls.data.files import remove_leftovers
from xraycls.data.lock import sole_writer
from xraycls.data.processors import limited_to
from xraycls.data.source import require_source
from xraycls.data.table import SampleTable
from xraycls.errors import RunError, UsageError
from xraycls.evaluation.metrics import metric
from xraycls.loaders.choose import build_loader, choose_engine, notice
from xraycls.loaders.recipes.classification import Recipe, find_recipe
from xraycls.models.classifier import Classifier, build_classifier, narrow_like
from xraycls.models.weights import check_source
from xraycls.models.zoo import find
from xraycls.training.checkpoint import load_state
from xraycls.training.config import TrainConfig, TrainSettings, parse_config
from xraycls.training.distributed import current_world, joined
from xraycls.training.loop import Loader, Messages, Outcome, Training
from xraycls.training.memory import explained_out_of_memory
from xraycls.training.optimizers import build_optimizer
from xraycls.training.precision import choose_device, choose_precision
from xraycls.training.quantization import simulate_8_bits
from xraycls.training.reporter import Reporter, Silent
from xraycls.training.run_folder import RunFolder, new_run
from xraycls.training.runtime import Runtime
from xraycls.training.tensorboard import TensorBoardReporter
from xraycls.workflows.advice import LoaderAdvice
from xraycls.workflows.ood import add_ood_check
from xraycls.workflows.probe import FeatureFiles, build_probe, is_probe
from xraycls.workflows.resume import (
    check_same_data,
    check_same_processes,
    in_order_of,
    report_failures,
    resumed_config,
)
from xraycls.workflows.run_data import RunData
from xraycls.workflows.seen import write_seen
from xraycls.workflows.settings import resolved
from xraycls.workflows.task import absent_classes, build_task, check_task, split_counts, told_task

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A finished training.

    Attributes:
        run: its folder.
        outcome: epochs, best epoch and whether it stopped early.
        config: the settings, fully resolved.
    """

    run: RunFolder
    outcome: Outcome
    config: TrainConfig


def _takes_settings(function: Callable[P, TrainResult]) -> Callable[P, TrainResult]:
    """Returns the function with a signature and a docstring that name every field of :class:`TrainConfig`."""
    own = [p for p in signature(function).parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
    fields = TrainConfig.model_fields.items()
    named = [Parameter(n, Parameter.KEYWORD_ONLY, default=f.default, annotation=f.annotation) for n, f in fields]
    setattr(function, "__signature__", signature(function).replace(parameters=own + named))  # noqa: B010
    listed = "\n".join(f"        {name}: {field.description}" for name, field in fields)
    function.__doc__ = (function.__doc__ or "").replace("        **settings: fields of TrainConfig.", listed)
    return function


@_takes_settings
def train(
    *,
    output: Path | str | None = None,
    resume: Path | str | None = None,
    reporter: Reporter | None = None,
    **settings: Unpack[TrainSettings],
) -> TrainResult:
    """Train a classifier and write everything into a run folder.

    Args:
        output: the run folder; None makes a new one below ``runs/``.
        resume: "auto" (the run in ``output``, else the newest of this model), or a run folder.
        reporter: is told of every step and epoch.
        **settings: fields of TrainConfig.

    Raises:
        XrayclsError: one sentence for whatever the user can mend.
        Interrupted: Ctrl-C; the state is saved.

    Example:
        >>> import xraycls
        >>> result = xraycls.train(
        ...     data="phantom", output="runs/first", weights="none", size=32, epochs=1, batch_size=8
        ... )
        >>> result.outcome.best_epoch, result.config.base_model
        (1, 'ResNet18')
    """
    if settings.get("folds") is not None and settings.get("fold") is None:
        raise UsageError(
            f"folds={settings['folds']} trains several runs, and this is one",
            "Call xraycls.train_folds, or name one of them with fold=0",
        )
    return train_on(RunData(), settings, output=output, resume=resume, reporter=reporter)


def train_on(
    data: RunData,
    settings: TrainSettings,
    *,
    output: Path | str | None = None,
    resume: Path | str | None = None,
    reporter: Reporter | None = None,
) -> TrainResult:
    """As :func:`train`, on data that may have been read for another training already."""
    config = resolved(parse_config(settings))
    run = RunFolder(Path(output)) if output else None
    if run and run.is_of_detector():
        raise UsageError(f"{run.path} holds results of xraycls ssd", "Choose another folder with --output")
    if run and run.fold(0).exists():
        raise UsageError(f"{run.path} holds the folds of a training", "Add --folds, or choose another --output")
    resumed = resumed_config(resume, run, config, settings) if resume else None
    if resumed:
        run, config = resumed
    elif run and run.holds_model():
        go_on = "Add --resume auto to go on with it, or choose another --output"
        hint = go_on if run.state.is_file() else "Its weights would be lost: choose another --output"
        raise UsageError(f"{run.path} already holds a run", hint)
    world = current_world()
    if config.gpus > 1 and world.size == 1:
        raise UsageError(
            f"gpus={config.gpus} needs as many processes, and this is one",
            f"Start them with: xraycls train --gpus {config.gpus}, or with torchrun",
        )
    device = choose_device(config.device, world.local_rank)
    runtime = Runtime(device, choose_precision(config.precision, device), world)
    if not world.is_main:  # one process talks to the user
        logging.getLogger("xraycls.data").setLevel(logging.ERROR)
        reporter = None
    run = run or new_run(config.base_model)
    alone = sole_writer(run.path) if world.is_main else nullcontext()
    with alone, joined(world, device), limited_to(config.threads):
        if config.data is not None:
            require_source(config.data, config.images)
        if resumed is None or not run.state.is_file():
            check_source(find(config.base_model), config.weights, config.size)  # before the data is looked through
        default_batch = resumed is None and "batch_size" not in settings
        return _train(
            config, run, runtime, reporter or Silent(), data, resume=resumed is not None, default_batch=default_batch
        )


def _train(
    config: TrainConfig,
    run: RunFolder,
    runtime: Runtime,
    reporter: Reporter,
    data: RunData,
    *,
    resume: bool,
    default_batch: bool,
) -> TrainResult:
    table = data.table(config, reporter.preparing)
    check_task(config, table)
    for line in told_task(table) + absent_classes(table, config.monitor, config.uncertain):
        reporter.message(line)
    if default_batch and config.batch_size > (most := max(len(table.split("train")) // runtime.world.size, 1)):
        reporter.message(
            f"--batch-size is {most}, as there are fewer training images than the usual {config.batch_size}."
        )
        config = config.updated({"batch_size": most})
    resume = resume and run.state.is_file()
    if resume:
        table = in_order_of(run, table)
        check_same_data(run, table)
        check_same_processes(run, runtime.world.size)
        state = load_state(run.state)
    torch.manual_seed(config.seed)
    classifier, report = build_classifier(
        config.base_model,
        table.outputs,
        weights="none" if resume else config.weights,
        freeze=config.freeze,
        size=config.size,
        dropout=config.dropout,
        multi_label=bool(table.findings),
        normalize=config.normalize,
    )
    if resume:
        narrow_like(classifier, state["model"])
    if config.qat:
        blank = torch.zeros(1, 1, classifier.size, classifier.size, dtype=torch.uint8)
        reporter.message(simulate_8_bits(classifier, blank))
    for line in [] if resume else report.lines():
        reporter.message(line)
    recipe = find_recipe(config.augment, classifier.size)
    engine = choose_engine(config.loader, table, runtime.device)
    if said := notice(engine, runtime.device):
        reporter.message(said)
    config = config.updated(
        {
            "size": classifier.size,
            "precision": runtime.precision,
            "gpus": runtime.world.size,
            "task": "multi" if table.findings else "single",
        }
    )
    memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
    smaller = f"--batch-size {config.batch_size // 2} --accumulate {2 * config.accumulate}"
    hint = f"Try {smaller}" if config.batch_size > 1 else "Try a smaller --size or another --base-model"
    with explained_out_of_memory(hint, config.batch_size):
        classifier.to(device=runtime.device, memory_format=memory_format)  # type: ignore[call-overload]
        if resume:
            _restore(run, partial(classifier.load_state_dict, state["model"]))  # a probe's features follow from it
        training = _training(config, engine, data, table, classifier, recipe, run, runtime, reporter)
        if resume:
            _restore(run, partial(training.load_state_dict, state))
            del state
            reporter.message(_told_resumed(training))
            _tell_other_engine(run, engine, reporter)
        if runtime.world.is_main:
            remove_leftovers(run.path)
            _describe_run(run, config, engine, table, runtime)
            write_seen(run, table, partial(data.identities, progress=reporter.preparing))
        with closing(TensorBoardReporter(run.path, reporter, training.epoch)) as board:
            training.reporter = LoaderAdvice(board, config, table) if runtime.world.is_main else reporter
            outcome = training.fit()
        if runtime.world.is_main:
            add_ood_check(run, config, table, engine, runtime, reporter)
    report_failures(training, reporter)
    return TrainResult(run, outcome, config)


def _restore(run: RunFolder, load: Callable[[], object]) -> None:
    """Load from the saved state; raises RunError where it doesn't fit."""
    try:
        load()
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise RunError(
            f"{run.state} is damaged, or of another network ({said})", "Start a new run with another --output"
        ) from error


def _training(
    config: TrainConfig,
    engine: str,
    data: RunData,
    table: SampleTable,
    classifier: Classifier,
    recipe: Recipe,
    run: RunFolder,
    runtime: Runtime,
    reporter: Reporter,
) -> Training:
    """Wire loaders, task and early stopping to the loop."""
    train_table, val_table = table.split("train"), table.split("val")
    loader = partial(
        build_loader,
        recipe=recipe,
        device=runtime.device,
        engine=engine,
        seed=config.seed,
        rank=runtime.world.rank,
        world=runtime.world.size,
        threads=config.threads,
        strict=config.strict,
        batch_size=config.batch_size,
        progress=reporter.preparing,
    )
    task = build_task(config, engine, table, train_table, runtime.device)
    messages = Messages(
        not_finite="Lower --learning-rate, set --clip-norm 1, or use --precision fp32",
        stopped=f"All is saved; go on with --resume {run.path}",
    )
    model: Classifier = classifier
    loaders: tuple[Loader, Loader]
    if is_probe(config, classifier, runtime.world.size, reporter):
        files = FeatureFiles(classifier, config, run, runtime, reporter)
        model, loaders = build_probe(files, train_table, val_table, engine, loader)
    else:
        cache = data.cache(config, table, recipe.canvas)
        if cache and (engine == "torch" or (engine == "dali" and runtime.device.type == "cpu")):
            reporter.message("Decoded pictures are kept for later epochs; --cache off decodes every file again.")
        loaders = (
            loader(train_table, training=True, balance=config.balance, cache=cache and cache.of(train_table)),
            loader(val_table, training=False, cache=cache and cache.of(val_table)),
        )
    optimizer = build_optimizer(config.optimizer, model.parameters(), config.learning_rate, config.weight_decay)
    return Training(
        model,
        task,
        loaders[0],
        loaders[1],
        config.loop(metric(config.monitor).higher_is_better),
        run,
        runtime,
        reporter,
        messages,
        config.rate(),
        optimizer,
    )


def _describe_run(run: RunFolder, config: TrainConfig, engine: str, table: SampleTable, runtime: Runtime) -> None:
    config.write(run.config)
    run.write_samples(table)
    device = runtime.device
    run.write_environment(
        {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
            "precision": runtime.precision,
            "processes": runtime.world.size,
            "engine": engine,
            "seed": config.seed,
            "dataset": table.fingerprint(),
            "classes": list(table.outputs),
            "counts": {split: split_counts(table.split(split)) for split in table.splits},
        }
    )


def _told_resumed(training: Training) -> str:
    """Where a resumed training stands."""
    run = training.run.path
    if training.epoch >= training.config.epochs:
        return f"{run} has finished all of its {training.epoch} epochs; a larger --epochs goes on with it."
    if training.is_finished:
        more = f"--patience above {training.config.patience}"
        return f"{run} has stopped early after {training.epoch} epochs; a {more} goes on with it."
    return f"Going on with {run} at epoch {training.epoch + 1}, batch {training.step + 1}."


def _tell_other_engine(run: RunFolder, engine: str, reporter: Reporter) -> None:
    before = run.read_environment().engine
    if before not in (None, engine):
        reporter.message(f"The pictures came from the {before} engine so far and now come from {engine}.")
