"""What several networks of TAO say alike in their specs: sources of images, evaluation and suppression."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from xraycls.errors import UsageError
from xraycls.tao.common import NMSConfig
from xraycls.tao.mounts import Mounts
from xraycls.tao.spec import Spec, value_at

if TYPE_CHECKING:
    from xraycls.data.box_sources import BoxSource
    from xraycls.models.detection.base import Suppression
    from xraycls.training.job import EvaluationConfig

MEANS = {"b": 103.939, "g": 116.779, "r": 123.68, "l": 117.3786}
"""Grey levels that are subtracted where a spec says nothing, by channel: blue, green and red, or grey alone."""

DEFAULT_IOU = 0.5


def box_sources(spec: Spec[Any], name: str, mounts: Mounts) -> tuple[BoxSource, ...]:
    """Returns the sources in a field of ``dataset_config``, such as "data_sources".

    Raises:
        SpecError: a path leads nowhere; names file, line and field.
    """
    from xraycls.data.box_sources import BoxSource

    def path(number: int, part: str) -> Path | None:
        field = f"dataset_config.{name}[{number}].{part}"
        if not (text := value_at(spec.config, field)):
            return None
        try:
            return mounts.path(text)
        except UsageError as error:
            raise spec.mistake(field, f"leads nowhere: {error.message}", error.hint) from error

    found = []
    for number, source in enumerate(value_at(spec.config, f"dataset_config.{name}")):
        images, records = path(number, "image_directory_path"), path(number, "tfrecords_path")
        labels = None if records else path(number, "label_directory_path")
        weight = getattr(source, "source_weight", 0.0) or 1.0
        found.append(BoxSource(images=images, labels=labels, records=records, weight=weight))
    return tuple(found)


def evaluation_config(given: Any) -> EvaluationConfig:
    """Returns what an ``eval_config`` of SSD or YOLO says."""
    from xraycls.training.job import EvaluationConfig

    return EvaluationConfig(
        batch_size=given.batch_size,
        mode="sample" if given.average_precision_mode == "SAMPLE" else "integrate",
        iou=given.matching_iou_threshold or DEFAULT_IOU,
        curves=given.visualize_pr_curve,
    )


def suppression_of(given: NMSConfig) -> Suppression:
    """Returns what an ``nms_config`` says."""
    from xraycls.models.detection.base import Suppression

    return Suppression(given.confidence_threshold, given.clustering_iou_threshold, given.top_k)
