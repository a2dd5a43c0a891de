"""Inference and evaluation in a spec of Faster R-CNN, as configuration objects.

Fields have the names, types and zero values of the spec; None is what isn't given.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrtConfig:
    """A TensorRT engine to run instead of the model."""

    trt_engine: str = ""
    trt_data_type: str = ""
    max_workspace_size_MB: int = 0  # noqa: N815


@dataclass(frozen=True, slots=True)
class InferenceConfig:
    """How predictions are made.

    Attributes:
        images_dir: of the images.
        model: that predicts.
        batch_size: 0 means 1.
        rpn_pre_nms_top_N: proposals an image before suppression.
        rpn_nms_max_boxes: and after it, at most.
        rpn_nms_overlap_threshold: IoU above which the weaker of two proposals goes, 0–1.
        bbox_visualize_threshold: predictions are drawn and written from this score, 0–1.
        object_confidence_thres: predictions must score more, 0–1.
        classifier_nms_max_boxes: predictions an image at most.
        classifier_nms_overlap_threshold: IoU above which the weaker of two predictions goes, 0–1.
        detection_image_output_dir: for images with boxes.
        bbox_caption_on: write class and score at the box.
        labels_dump_dir: for label files.
        trt_inference: an engine instead of the model.
        nms_score_bits: of a TensorRT plugin.
    """

    images_dir: str = ""
    model: str = ""
    batch_size: int = 0
    rpn_pre_nms_top_N: int = 0  # noqa: N815
    rpn_nms_max_boxes: int = 0
    rpn_nms_overlap_threshold: float = 0.0
    bbox_visualize_threshold: float = 0.0
    object_confidence_thres: float = 0.0
    classifier_nms_max_boxes: int = 0
    classifier_nms_overlap_threshold: float = 0.0
    detection_image_output_dir: str = ""
    bbox_caption_on: bool = False
    labels_dump_dir: str = ""
    trt_inference: TrtConfig | None = None
    nms_score_bits: int = 0


@dataclass(frozen=True, slots=True)
class IoUThresholdRange:
    """Thresholds from ``start`` to before ``end``."""

    start: float = 0.0
    end: float = 0.0
    step: float = 0.0


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """How a model is evaluated; what it shares with :class:`InferenceConfig` means the same.

    Attributes:
        labels_dump_dir: up to TAO 4: for label files.
        use_voc07_11point_metric: at eleven recalls, or the whole area under the curve.
        validation_period_during_training: epochs between two evaluations; 0 means 1.
        trt_evaluation: an engine instead of the model.
        gt_matching_iou_threshold_range: what a prediction must overlap an object by, several in turn; or:
        gt_matching_iou_threshold: one, 0–1.
        visualize_pr_curve: draw it.
    """

    model: str = ""
    labels_dump_dir: str = ""
    rpn_pre_nms_top_N: int = 0  # noqa: N815
    rpn_nms_max_boxes: int = 0
    rpn_nms_overlap_threshold: float = 0.0
    classifier_nms_max_boxes: int = 0
    classifier_nms_overlap_threshold: float = 0.0
    object_confidence_thres: float = 0.0
    use_voc07_11point_metric: bool = False
    validation_period_during_training: int = 0
    batch_size: int = 0
    trt_evaluation: TrtConfig | None = None
    gt_matching_iou_threshold_range: IoUThresholdRange | None = None
    gt_matching_iou_threshold: float | None = None
    visualize_pr_curve: bool = False
