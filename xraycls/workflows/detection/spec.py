"""Detectors driven by TLT/TAO specs: train and evaluate as TAO's programs do, and leave the same files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from xraycls.data.box_sources import read_validation
from xraycls.data.files import atomic_write
from xraycls.data.lock import sole_writer
from xraycls.errors import UsageError
from xraycls.inference.choose import check_runtime
from xraycls.inference.detection import TrainedDetector
from xraycls.inference.exported import is_exported
from xraycls.inference.exported_predictor import ExportedModel
from xraycls.inference.load import load_detector_model
from xraycls.models.detection.base import DetectorConfig
from xraycls.models.files import find_model, model_suffix
from xraycls.tao.mounts import Mounts
from xraycls.tao.networks.base import TaoNetwork
from xraycls.tao.programs import network_of_spec, open_spec
from xraycls.tao.report import FieldReport, exceptions, headline, mapping_report
from xraycls.tao.results import Results, StrictReporter, TaoReporter, reported
from xraycls.tao.spec import Spec
from xraycls.tao.status import StatusLog
from xraycls.training.distributed import current_world
from xraycls.training.job import DetectionJob
from xraycls.training.loop import Messages
from xraycls.training.precision import choose_device
from xraycls.training.reporter import Reporter, Silent
from xraycls.training.run_folder import RunFolder
from xraycls.workflows.detection.evaluate import Evaluation, check_classes, judge, open_exported
from xraycls.workflows.detection.resume import check_folder
from xraycls.workflows.detection.start import check_goes_on, check_network, check_start
from xraycls.workflows.detection.train import DetectionTraining, Extras, run_job


def train_spec(
    network: TaoNetwork,
    spec: Path,
    results: Path | None = None,
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
    cache: str = "auto",
    reporter: Reporter | None = None,
) -> DetectionTraining:
    """Train a detector as the ``train`` verb of TAO does, and leave the same files.

    Args:
        network: one of :data:`xraycls.tao.networks.NETWORKS`.
        spec: a spec of it in any dialect.
        results: the results folder; None where the spec says it.
        key: encrypts the weights; "" for the one of the spec, or none.
        weights: what to start from: a detector, pruned or not, or a classifier's weights for the backbone; None for
            what the spec says.
        initial_epoch: above 1, the training in ``results`` or else that of ``weights`` goes on with this epoch.
        resume: the training in ``results`` goes on wherever it was stopped.
        epochs: instead of the spec's.
        size: width and height of the input, instead of the spec's.
        batch_size: images a process, instead of the spec's.
        mounts: where folders of TAO's container lie here.
        device: as in :func:`~xraycls.workflows.detection.train.train_detector`.
        precision: likewise.
        loader: likewise.
        threads: likewise.
        cache: likewise.
        reporter: is told of every step and epoch.

    Raises:
        XrayclsError: one sentence for whatever the user can mend.
        Interrupted: Ctrl-C; the state is saved.
    """
    opened = open_spec(spec, network.spec)
    if network.job is None:
        raise UsageError(f"{network.title} can't be trained here yet", "Check its specs with spec-check")
    job = network.job(opened, mounts).with_training(epochs, batch_size)
    job = replace(job.resized(*size) if size else job, weights=weights or job.weights)
    folder = _results(network, opened, mounts, results, job)
    results = folder.folder
    key = key or key_of_spec(opened)
    main = current_world().is_main
    listener = reporter or Silent()
    elsewhere = "choose another folder with -r"
    if weights is None:
        initial_epoch = initial_epoch if resume or initial_epoch > 1 else network.initial_epoch(opened)
        check_start(network, opened, job.weights, key, job.detector)
    elif initial_epoch > 1:
        check_goes_on(network, weights, key, job.detector)
    check_folder(RunFolder(results), elsewhere, resume=resume or initial_epoch > 1)  # before its status is written to
    alone = sole_writer(results, elsewhere) if main else nullcontext()
    with alone, reported(results if main else None, f"{network.title} training") as status:
        if main:
            _report_support(opened, mapping_report(opened, mounts), listener, status)
            for line in network.differences:
                listener.message(line)
            if network.has_labels_file:
                _write_labels(folder.labels, job.detector.classes)
        if changed := _changed(epochs, batch_size, size):
            listener.message(f"The command line overrides the spec: {changed}.")
        return run_job(
            job,
            RunFolder(results),
            Extras(
                model=partial(folder.weights, suffix=model_suffix(key)),
                reporters=partial(_tao_reporter, folder, status, job, network.is_strict),
                events=folder.events,
                messages=Messages(
                    not_finite="Lower the learning rate in the spec, or use --precision fp32",
                    stopped="All is saved; go on with the same command and --continue",
                ),
                elsewhere=elsewhere,
                initial_epoch=initial_epoch,
                figures_first=network.figures_first,
            ),
            resume=resume,
            key=key,
            device=device,
            precision=precision,
            loader=loader,
            threads=threads,
            cache=cache,
            reporter=reporter,
        )


def evaluate_spec(
    network: TaoNetwork,
    model: Path | None,
    spec: Path,
    *,
    key: str = "",
    results: Path | None = None,
    batch_size: int | None = None,
    mounts: Mounts | None = None,
    device: str = "auto",
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    runtime: str = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Average precision of a model on the validation images of a spec, and the other figures of the field.

    Args:
        network: one of :data:`xraycls.tao.networks.NETWORKS`.
        model: the detector's file, as :func:`xraycls.models.files.find_model` takes it, or an exported folder or file,
            whose suppression is its own; None for the one that the spec names.
        spec: its validation data, ``eval_config`` and ``nms_config`` count; the network and its input are the model's
            own, and what is for training need not be right or there.
        key: of an encrypted model; "" for the one of the spec.
        results: folder for ``status.json``, ``evaluation.json`` and the curves; None for that of the model.
        batch_size: instead of the spec's.
        mounts: where folders of TAO's container lie here.
        device: as in training.
        precision: "auto" takes the one that the model was validated with in training.
        loader: as in training.
        threads: decoding threads; None for one a processor.
        runtime: "auto", "torch", "onnxruntime", "openvino" or "tensorrt"; all but the first two of exported models.
        progress: told how many pictures are done, of how many.

    Raises:
        XrayclsError: one sentence for whatever the user can mend.
    """
    if model is None or not key:
        opened = open_spec(spec, network.spec)
        key = key or key_of_spec(opened)
        model = model or (network.judged(opened, mounts) if network.judged else None)
    if model is None:
        raise UsageError("Nothing says which model to evaluate", "Name it: -m MODEL")
    exported = is_exported(model)
    folder = results or (model if model.is_dir() and exported else find_model(model, key).parent)
    with reported(folder, f"{network.title} evaluation") as status:
        if network.evaluation is None:
            raise UsageError(f"{network.title} can't be evaluated by a spec here yet")
        opened = open_spec(spec, network.spec)
        data, settings, suppression = network.evaluation(opened, mounts)
        if exported:
            trained: TrainedDetector | ExportedModel = open_exported(model, suppression, device, runtime)
            check_network(network, trained.network, model)
        else:
            check_runtime(model, runtime)
            trained = load_detector_model(
                model,
                choose_device(device),
                key=key,
                suppression=suppression,
                proposals=network.proposals(opened, "evaluation") if network.proposals else None,
                config=partial(config_of_spec, spec, network, mounts),
            )
            check_network(network, trained.detector.config.network, model)
            if network.view:
                trained = replace(trained, recipe=network.view(opened, trained.recipe.canvas))
        check_classes(trained, data.classes)  # before their pictures are looked for
        done = judge(
            trained,
            read_validation(data),
            replace(settings, batch_size=batch_size or settings.batch_size),
            folder,
            precision=precision,
            loader=loader,
            threads=threads,
            progress=progress,
        )
        figures = {f"AP_{name}": value for name, value in done.average.per_class.items() if not math.isnan(value)}
        status.write("Evaluation results", figures={"kpi": figures | {"mAP": done.average.mean}})
    return done


def config_of_spec(spec: Path, network: TaoNetwork | None = None, mounts: Mounts | None = None) -> DetectorConfig:
    """Returns the detector that a spec describes: what a Keras file of TAO doesn't say of itself.

    Args:
        spec: as the model was trained with.
        network: that it is for; None for what its fields tell.
        mounts: where folders of TAO's container lie here.

    Raises:
        SpecError: the spec is of another network or can't be trained by.
        UsageError: the network can't be trained here yet.
    """
    network = network or network_of_spec(spec)
    if network.job is None:
        raise UsageError(f"{network.title} can't be built from a spec here yet")
    job = network.job(open_spec(spec, network.spec), mounts)
    return job.with_classes(job.data.classes).detector


def key_of_spec(spec: Spec[Any]) -> str:
    """Returns the key that a spec names for its models (``enc_key``); "" for none."""
    return str(getattr(spec.config, "enc_key", ""))


def _results(
    network: TaoNetwork, spec: Spec[Any], mounts: Mounts | None, folder: Path | None, job: DetectionJob
) -> Results:
    if network.results:
        return network.results(spec, mounts, folder)
    if folder is None:
        raise UsageError("Nothing says where the results go", "Give a folder with -r")
    name = network.weights_name or job.detector.network
    return Results(folder, name, job.detector.backbone, table=network.table_name)


def _report_support(spec: Spec[Any], report: tuple[FieldReport, ...], reporter: Reporter, status: StatusLog) -> None:
    """What becomes of the fields of the spec, in short."""
    for line in (headline(spec, report), *(f"  {line}" for line in exceptions(report))):
        reporter.message(line)
    others = {each.field: f"{each.outcome}: {each.note}" for each in report if each.outcome != "honoured"}
    status.write(headline(spec, report), figures={"categorical": others})


def _write_labels(path: Path, classes: Sequence[str]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")


def _changed(epochs: int | None, batch_size: int | None, size: tuple[int, int] | None) -> str:
    changed = {
        "num_epochs": epochs,
        "batch_size_per_gpu": batch_size,
        "width and height": size and f"{size[0]} × {size[1]}",
    }
    return ", ".join(f"{name} {value}" for name, value in changed.items() if value)


def _tao_reporter(
    folder: Results, status: StatusLog, job: DetectionJob, strict: bool, listener: Reporter, classes: Sequence[str]
) -> Reporter:
    reporter: Reporter = TaoReporter(folder, status, job.loop.epochs, classes, listener)
    return StrictReporter(reporter, classes, job.evaluation.ious or (job.evaluation.iou,)) if strict else reporter
