"""After a U-Net's training: its figures on validation, the original pipeline's file, and pictures of the films."""

from __future__ import annotations

from collections.abc import Iterator

from xraycls.data.box_sources import read_validation
from xraycls.data.files import atomic_write
from xraycls.evaluation.detection.table import DetectionReport
from xraycls.evaluation.summary import format_estimate
from xraycls.models.detection.files import load_detector
from xraycls.models.detection.unet_original import OriginalUNetDetector, write_original
from xraycls.workflows.detection.evaluate import evaluate_detector
from xraycls.workflows.detection.train import DetectionTraining
from xraycls.workflows.unet.predict import PICTURES, predict_boxes

FINAL = "final.pth.tar"
"""The file of the original pipeline, with the weights of the best epoch."""


def finish(
    done: DetectionTraining, *, pictures: bool, key: str = "", device: str = "auto", threads: int | None = None
) -> Iterator[str]:
    """Write what a finished training leaves beside its models; yields sentences for the user.

    Args:
        done: the training.
        pictures: whether the validation films are drawn with their boxes, those of the truth, too.
        key: of the models.
        device: as in training.
        threads: that read films; None for one a processor.
    """
    run = done.run
    best = run.best if run.best.is_file() else run.last
    validation = done.job.data.val_fraction or done.job.data.validation
    detector = load_detector(best, key=key)[0]
    if isinstance(detector, OriginalUNetDetector):
        with atomic_write(run.path / FINAL) as temporary:
            write_original(detector, temporary)
        yield f"Wrote {run.path / FINAL}, which the original pipeline reads, too."
    if pictures and validation:
        films = read_validation(done.job.data).validation
        predict_boxes(run.path, films, run.path, key=key, device=device, threads=threads)
        yield f"Wrote pictures of {len(films):,} validation films to {run.path / PICTURES}."
    if isinstance(detector, OriginalUNetDetector) and validation:
        report = evaluate_detector(run.path, key=key, device=device, threads=threads).report
        yield f"RSNA's figure, over the films that count: {format_estimate(report.figures['rsna'])}"
        yield f"Total Average Precision: {total_average_precision(report):.4f}"


def total_average_precision(report: DetectionReport) -> float:
    """Returns RSNA's figure divided by all images instead of those that count, 0–1, as the original pipeline does."""
    return report.figures["rsna"].value * report.rsna_images / report.images if report.rsna_images else 0.0
