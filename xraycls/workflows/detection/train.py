"""Train a detector: job → data → loaders → detector → training → a run folder, with TAO's files where a spec asks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from xraycls.data.box_sources import BoxTables, read_boxes
from xraycls.data.files import remove_leftovers
from xraycls.data.lock import sole_writer
from xraycls.data.processors import limited_to
from xraycls.loaders.choose import choose_engine
from xraycls.models.files import find_model
from xraycls.training.checkpoint import Checkpoints
from xraycls.training.distributed import current_world, joined
from xraycls.training.job import DetectionJob
from xraycls.training.loop import Messages, Outcome, Training
from xraycls.training.memory import explained_out_of_memory
from xraycls.training.precision import choose_device, choose_precision
from xraycls.training.reporter import AfterEpoch, Reporter, Silent
from xraycls.training.run_folder import RunFolder, new_run
from xraycls.training.runtime import Runtime
from xraycls.training.tensorboard import TensorBoardReporter
from xraycls.workflows.detection.build import Loading, build_training, start_detector
from xraycls.workflows.detection.choose import is_chosen, keep_choice
from xraycls.workflows.detection.data import check_pictures, count_learnable, fitting_batch, warn_of_absent
from xraycls.workflows.detection.resume import check_folder, check_same_job, take_up
from xraycls.workflows.resume import check_same_data, check_same_processes, report_failures


@dataclass(frozen=True, slots=True)
class DetectionTraining:
    """A finished training.

    Attributes:
        run: its folder.
        model: weights of the last epoch.
        outcome: epochs, best epoch and whether it stopped early.
        job: what was trained, with the classes of the data.
    """

    run: RunFolder
    model: Path
    outcome: Outcome
    job: DetectionJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What a program adds to the training of a job: TAO's files, its words, its way to go on.

    Attributes:
        model: the file of an epoch's model, counted from 1; None keeps ``best`` and ``last`` alone.
        reporters: wraps the reporter of the writing process once the data's classes are known.
        events: folder of the TensorBoard files; None for the run folder.
        messages: ways out in errors of the loop.
        elsewhere: how to choose another folder, for errors.
        initial_epoch: above 1, the epoch that an earlier training goes on with.
        figures_first: whether the figures of an epoch are told before its model's file.
        usual_batch: a batch size that gets smaller where there are fewer pictures; None leaves the job's as it is.
    """

    model: Callable[[int], Path] | None = None
    reporters: Callable[[Reporter, Sequence[str]], Reporter] = lambda reporter, classes: reporter
    events: Path | None = None
    messages: Messages = field(
        default=Messages(
            not_finite="Lower the learning rate, or use precision fp32",
            stopped="All is saved; start the same training again with resume",
        )
    )
    elsewhere: str = "choose another folder with output"
    initial_epoch: int = 1
    figures_first: bool = False
    usual_batch: int | None = None


def train_detector(
    job: DetectionJob | Path | str | None = None,
    *,
    output: Path | str | None = None,
    resume: bool = False,
    key: str = "",
    device: str = "auto",
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    cache: str = "auto",
    reporter: Reporter | None = None,
    **settings: Any,
) -> DetectionTraining:
    """Train a detector and write everything into a run folder.

    Args:
        job: a job, or a YAML file of one, such as ``config.yaml`` of a run; None takes the settings alone.
        output: the run folder; None makes a new one below ``runs/``.
        resume: go on with the training in ``output``; where there is none yet it starts.
        key: encrypts the weights; "" for none.
        device: "auto", "cpu", "cuda", "cuda:1".
        precision: "auto", "bf16", "fp16" or "fp32".
        loader: "auto", "torch" or "dali".
        threads: decoding threads; None for one a processor.
        cache: "auto" keeps decoded training pictures in memory while they fit and on disk beyond, "off" keeps none; a
            size such as "50GB" or a folder as ``--cache`` takes them.
        reporter: is told of every step and epoch.
        **settings: fields of :class:`xraycls.training.job.DetectionJob` as YAML has them, such as
            ``detector={"network": "ssd", "backbone": "resnet18", "width": 512, "height": 512}``, ``data="boxes"``,
            ``loop={"epochs": 40}``; they take the place of those of ``job``.

    Returns:
        The run folder, the model of the last epoch and the outcome.

    Raises:
        XrayclsError: one sentence for whatever the user can mend.
        Interrupted: Ctrl-C; the state is saved.

    Example:
        A detector of the boxes beside some films; the folder may hold any format of boxes.

        >>> import xraycls
        >>> done = xraycls.train_detector(
        ...     detector={"network": "ssd", "backbone": "resnet10", "width": 64, "height": 64},
        ...     data="films",
        ...     output="runs/detector",
        ...     batch_size=4,
        ...     loop={"epochs": 1},
        ... )
        >>> done.model.as_posix(), done.job.detector.classes, done.outcome.best_epoch
        ('runs/detector/checkpoints/last.safetensors', ('opacity',), 1)
    """
    made = DetectionJob.of(job, settings)
    run = RunFolder(Path(output)) if output else new_run(f"{made.detector.network}-{made.detector.backbone}")
    with sole_writer(run.path) if current_world().is_main else nullcontext():
        return run_job(
            made,
            run,
            Extras(usual_batch=made.usual_batch),
            resume=resume,
            key=key,
            device=device,
            precision=precision,
            loader=loader,
            threads=threads,
            cache=cache,
            reporter=reporter,
        )


def run_job(
    job: DetectionJob,
    run: RunFolder,
    extras: Extras,
    *,
    resume: bool = False,
    key: str = "",
    device: str = "auto",
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    cache: str = "auto",
    reporter: Reporter | None = None,
) -> DetectionTraining:
    """Train what a job describes, in a folder that the caller has locked; arguments are those of train_detector."""
    goes_on = resume or extras.initial_epoch > 1
    check_folder(run, extras.elsewhere, resume=goes_on)
    world = current_world()
    chosen = choose_device(device, world.local_rank)
    runtime = Runtime(chosen, choose_precision(precision, chosen), world)
    if not world.is_main:  # one process talks to the user
        logging.getLogger("xraycls").setLevel(logging.ERROR)
        reporter = None
    listener = reporter or Silent()
    given = find_model(job.weights, key) if job.weights else None  # before the data is looked through
    with joined(world, chosen), limited_to(threads):
        data = read_boxes(job.data)
        job = job.with_classes(data.classes)
        if job.batch_size == extras.usual_batch:
            job = job.with_training(batch_size=fitting_batch(job.batch_size, data.training, world.size, listener))
        check_pictures(job.recipe, data.training)
        objects = count_learnable(job.recipe, data.classes, data.training)
        listener.message(
            f"{len(data.training):,} training and {len(data.validation):,} validation images, "
            f"{objects:,} objects to learn: {', '.join(data.classes)}."
        )
        warn_of_absent(data.validation, data.classes)
        started = goes_on and run.state.is_file()
        if started:
            check_same_data(run, data.table, boxes=True, hint="")
            check_same_processes(run, world.size)
            if resume:  # TAO's --initial-epoch may go on with another spec
                check_same_job(run, job, extras.elsewhere)
        last = run.last if started and run.last.is_file() else None
        detector = start_detector(job, last or given, key, Silent() if started else listener)
        with explained_out_of_memory("Lower the batch size, or the size of the input", job.batch_size):
            loading = Loading(loader, threads, cache)
            training = build_training(job, data, detector, run, runtime, extras.messages, key, loading, listener)
            if goes_on:
                epoch = None if resume else extras.initial_epoch
                listener.message(take_up(training, run, key, epoch, given, extras.elsewhere))
            if started and extras.model and world.is_main and not training.step:
                kept = Checkpoints(run.last, extras.model, job.checkpoint_every, listener.message)
                kept.repair(training.epoch, training.is_finished)
            if world.is_main:
                remove_leftovers(run.path)  # of a training that was killed, be it after its last epoch
            chooses = world.is_main and not (training.is_finished and is_chosen(run))
            if training.is_finished:
                outcome = training.outcome()
            elif world.is_main:
                _describe_run(run, job, data, runtime, choose_engine(loader, data.table, chosen))
                outcome = _fit(training, job, data, extras, listener)
            else:
                outcome = training.fit()
    report_failures(training, listener)
    if chooses:
        keep_choice(run, job, data, runtime, listener, key=key, loader=loader, threads=threads)
    model = extras.model(int(outcome.rows[-1]["epoch"])) if extras.model and outcome.rows else run.last
    return DetectionTraining(run, model, outcome, job)


def _fit(training: Training, job: DetectionJob, data: BoxTables, extras: Extras, reporter: Reporter) -> Outcome:
    """Train, in the process that writes."""
    wrapped = extras.reporters(reporter, data.classes if len(data.validation) else ())
    message = wrapped.message
    if extras.figures_first:
        wrapped = AfterEpoch(wrapped)
        message = wrapped.later
    if extras.model:
        training.keep = Checkpoints(training.run.last, extras.model, job.checkpoint_every, message)
    training.reporter = wrapped
    with ExitStack() as stack:
        if job.tensorboard:
            board = TensorBoardReporter(extras.events or training.run.path, wrapped, training.epoch)
            training.reporter = stack.enter_context(closing(board))
        return training.fit()


def _describe_run(run: RunFolder, job: DetectionJob, data: BoxTables, runtime: Runtime, engine: str) -> None:
    """Write what the run is, before its first step."""
    job.write(run.config)
    counts = {
        name: {"images": len(table), "objects": sum(len(sample.boxes) for sample in table)}
        for name, table in (("train", data.training), ("val", data.validation))
    }
    device = runtime.device
    run.write_environment(
        {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
            "precision": runtime.precision,
            "processes": runtime.world.size,
            "engine": engine,
            "seed": job.loop.seed,
            "dataset": data.table.fingerprint(boxes=True),
            "classes": list(data.classes),
            "counts": counts,
        }
    )
