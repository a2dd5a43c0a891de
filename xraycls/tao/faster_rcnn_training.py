"""Training in a spec of Faster R-CNN, as configuration objects.

Fields have the names, types and zero values of the spec; None is what isn't given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xraycls.tao.common import EarlyStopping, RegularizerConfig, VisualizerConfig
from xraycls.tao.detectnet import AugmentationConfig, DatasetConfig
from xraycls.tao.faster_rcnn_inference import EvaluationConfig, InferenceConfig


@dataclass(frozen=True, slots=True)
class AdamOptimizerConfig:
    """Adam, as in Keras; the schedule sets its rate and ``epsilon`` is not used."""

    lr: float = 0.0
    beta_1: float = 0.0
    beta_2: float = 0.0
    epsilon: float = 0.0
    decay: float = 0.0
    amsgrad: bool = False


@dataclass(frozen=True, slots=True)
class SgdOptimizerConfig:
    """Stochastic gradient descent, as in Keras; the schedule sets its rate."""

    lr: float = 0.0
    momentum: float = 0.0
    decay: float = 0.0
    nesterov: bool = False


@dataclass(frozen=True, slots=True)
class RmspropOptimizerConfig:
    """RMSprop, as in Keras; the schedule sets its rate."""

    lr: float = 0.0


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """One of the three."""

    adam: AdamOptimizerConfig | None = None
    sgd: SgdOptimizerConfig | None = None
    rmsprop: RmspropOptimizerConfig | None = None


@dataclass(frozen=True, slots=True)
class SoftStartAnnealingConfig:
    """Linearly up, then down in steps.

    Attributes:
        base_lr: after the way up.
        start_lr: at the start.
        soft_start: share of the training that the way up takes, 0–1.
        annealing_points: shares of the training at which the rate falls, rising.
        annealing_divider: what it is divided by at each.
    """

    base_lr: float = 0.0
    start_lr: float = 0.0
    soft_start: float = 0.0
    annealing_points: tuple[float, ...] = ()
    annealing_divider: float = 0.0


@dataclass(frozen=True, slots=True)
class StepLrConfig:
    """Smoothly down.

    Attributes:
        base_lr: at the start.
        gamma: factor, 0–1.
        step_size: percent of the training in which the rate falls by the factor.
    """

    base_lr: float = 0.0
    gamma: float = 0.0
    step_size: float = 0.0


@dataclass(frozen=True, slots=True)
class LRConfig:
    """One of the two."""

    soft_start: SoftStartAnnealingConfig | None = None
    step: StepLrConfig | None = None


@dataclass(frozen=True, slots=True)
class RegConfig:
    """TLT 2's regulariser: "L1", "L2" or none, and its weight."""

    reg_type: str = ""
    weight_decay: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How the network is trained; the last six are TLT 2's.

    Attributes:
        enable_augmentation: change training images.
        retrain_pruned_model: a pruned model to retrain.
        pretrained_weights: a model to take weights from.
        resume_from_model: a model to go on from.
        output_model: up to TAO 4: the name of saved models, before their epoch.
        rpn_min_overlap: anchors that overlap an object by less are background, 0–1.
        rpn_max_overlap: anchors that overlap an object by so much answer for it.
        classifier_min_overlap: proposals that overlap an object by less are not learnt from.
        classifier_max_overlap: proposals that overlap an object by so much answer for it.
        gt_as_roi: learn from the objects' own boxes too.
        std_scaling: what the offsets of proposals are divided by.
        classifier_regr_std: what the second stage's offsets are multiplied by: x, y, w and h.
        batch_size_per_gpu: 1 or more.
        num_epochs: 1 or more.
        checkpoint_interval: epochs between two saved models; 0 means 1.
        rpn_pre_nms_top_N: proposals an image before suppression.
        rpn_mini_batch: anchors of an image that the first stage learns from.
        rpn_nms_max_boxes: proposals an image after suppression, at most.
        rpn_nms_overlap_threshold: IoU above which the weaker of two proposals goes, 0–1.
        regularizer: of the kernels.
        optimizer: one of three.
        learning_rate: the schedule.
        lambda_rpn_regr: weight of the first stage's box loss.
        lambda_rpn_class: weight of the first stage's class loss.
        lambda_cls_regr: weight of the second stage's box loss.
        lambda_cls_class: weight of the second stage's class loss.
        enable_qat: train for 8-bit inference.
        model_parallelism: shares of the network that each GPU holds.
        early_stopping: None trains to the end.
        visualizer: None shows nothing.
        kitti_data_config: ``dataset_config``.
        data_augmentation: ``augmentation_config``.
        reg_config: ``regularizer``.
        lr_scheduler: ``learning_rate``.
        inference_config: that of the whole spec.
        evaluation_config: that of the whole spec.
    """

    enable_augmentation: bool = False
    retrain_pruned_model: str = ""
    pretrained_weights: str = ""
    resume_from_model: str = ""
    output_model: str = ""
    rpn_min_overlap: float = 0.0
    rpn_max_overlap: float = 0.0
    classifier_min_overlap: float = 0.0
    classifier_max_overlap: float = 0.0
    gt_as_roi: bool = False
    std_scaling: float = 0.0
    classifier_regr_std: Mapping[str, float] = field(default_factory=dict)
    batch_size_per_gpu: int = 0
    num_epochs: int = 0
    checkpoint_interval: int = 0
    rpn_pre_nms_top_N: int = 0  # noqa: N815
    rpn_mini_batch: int = 0
    rpn_nms_max_boxes: int = 0
    rpn_nms_overlap_threshold: float = 0.0
    regularizer: RegularizerConfig = field(default=RegularizerConfig())
    optimizer: OptimizerConfig = OptimizerConfig()
    learning_rate: LRConfig = LRConfig()
    lambda_rpn_regr: float = 0.0
    lambda_rpn_class: float = 0.0
    lambda_cls_regr: float = 0.0
    lambda_cls_class: float = 0.0
    enable_qat: bool = False
    model_parallelism: tuple[float, ...] = ()
    early_stopping: EarlyStopping | None = None
    visualizer: VisualizerConfig | None = None
    kitti_data_config: DatasetConfig | None = None
    data_augmentation: AugmentationConfig | None = None
    reg_config: RegConfig | None = None
    lr_scheduler: LRConfig | None = None
    inference_config: InferenceConfig | None = None
    evaluation_config: EvaluationConfig | None = None
