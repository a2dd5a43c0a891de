"""The spec of Faster R-CNN: the fields of all versions of TLT and TAO. Zero is what a field that isn't given has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from xraycls.tao.common import QAT, EarlyStopping, RegularizerConfig, VisualizerConfig
from xraycls.tao.detectnet import AugmentationConfig, DatasetConfig
from xraycls.tao.fields import DIALECTS, FIRST, HONOURED, LATER, Support, approximated, but, define, ignored, message
from xraycls.tao.limits import (
    above,
    all_above,
    at_least,
    between,
    one_of,
    up_to,
    whole_numbers,
    within,
    zero_or_at_least,
)

_PLACED = (*(f"crop_{side}" for side in ("left", "top", "right", "bottom")), "scale_width", "scale_height")
_IMAGES = {
    "spatial_augmentation.vflip_probability": but(ignored("as in TAO, which reads it and never flips so")),
    "preprocessing.output_image_min": but(ignored("size_min says the same")),
    "preprocessing.output_image_max": but(approximated("of an input of no fixed size: the side of a square")),
    "preprocessing.enable_auto_resize": but(HONOURED),
    **{f"preprocessing.{name}": but(HONOURED) for name in _PLACED},
    **{f"spatial_augmentation.{name}": but(HONOURED) for name in ("rotate_rad_max", "rotate_probability")},
    **{f"spatial_augmentation.{name}": but(HONOURED) for name in ("zoom_min", "zoom_max")},
}
BACKBONES = (
    *(f"resnet:{layers}" for layers in (10, 18, 34, 50, 101)),
    *("resnet101", "vgg16", "vgg:16", "vgg:19", "googlenet", "mobilenet_v1", "mobilenet_v2"),
    *("darknet:19", "darknet:53"),
    *(f"efficientnet:b{number}" for number in range(8)),
)

_TO_TLT_3 = DIALECTS[:2]
_ENGINE = ignored("the model itself runs; TensorRT engines are made by export")
_RATE = ignored("as in TAO: learning_rate sets it")


@message
class SizeMin:
    """An input of no fixed size; its shorter side, pixels."""

    min: int = define("pixels", zero_or_at_least(160))


@message
class SizeHeightWidth:
    """An input of a fixed size, pixels."""

    height: int = define("pixels", zero_or_at_least(160))
    width: int = define("pixels", zero_or_at_least(160))


@message
class InputImageConfig:
    """The network's input."""

    image_type: Literal["RGB", "GRAY_SCALE"] = define("three channels or one")
    size_min: SizeMin | None = define(
        "an input of no fixed size",
        approximated("the input is a square of output_image_max pixels, with each film in its top-left corner"),
        oneof="image_size_config",
    )
    size_height_width: SizeHeightWidth | None = define(
        "an input of a fixed size, each side 160 pixels or more", oneof="image_size_config"
    )
    image_channel_order: str = define(
        '"rgb", "bgr" or "l"',
        one_of("bgr", "rgb", "l"),
        approximated("a grey film's channels are alike: it orders the means alone"),
    )
    image_channel_mean: Mapping[str, float] = define("what is subtracted, by channel: r, g and b, or l")
    image_scaling_factor: float = define("what the rest is divided by", above(0))
    max_objects_num_per_image: int = define(
        "that a training image may have; one with more ends the training, as in TAO", at_least(1)
    )


@message
class AnchorBoxConfig:
    """Anchors: each side, pixels, with each width through height."""

    scale: tuple[float, ...] = define("sides, pixels", all_above(0))
    ratio: tuple[float, ...] = define("width through height", all_above(0))


@message
class RoiPoolingConfig:
    """Pooling of proposals."""

    pool_size: int = define("side of what is cut out of the feature map, cells")
    pool_size_2x: bool = define("cut out twice as many and pool them")


@message
class Activation:
    """Of an efficientnet: "relu" or "swish"."""

    activation_type: str = define("its name", one_of("", "relu", "swish"))
    activation_parameters: Mapping[str, float] = define("its numbers", ignored("relu and swish have none"))


@message
class Network:
    """The network, as all versions have it."""

    input_image_config: InputImageConfig = define("its input", required=True)
    anchor_box_config: AnchorBoxConfig = define("its anchors", required=True)
    roi_mini_batch: int = define("proposals of an image that the second stage learns from", at_least(1))
    rpn_stride: int = define("16", one_of(16))
    freeze_bn: bool = define("of the backbone")
    dropout_rate: float = define("of vgg's last layers", at_least(0))
    drop_connect_rate: float = define("of an efficientnet", at_least(0))
    rpn_cls_activation_type: str = define('"sigmoid"', ignored("it is a sigmoid, as TAO allows no other"))
    freeze_blocks: tuple[float, ...] = define("of the backbone, not trained", whole_numbers())
    roi_pooling_config: RoiPoolingConfig = define("of proposals")
    rfcn_mode: bool = define("pooling by position", Support("not yet", "true is refused"))
    tf_proposal_layer: bool = define("not used", ignored("TAO doesn't read it"))
    all_projections: bool = define("of a resnet: a convolution in every shortcut")
    use_pooling: bool = define("of a resnet or vgg: pool, where it would stride")


@message
class ModelConfig(Network):
    """The network, since TLT 3."""

    arch: str = define('of the backbone, "resnet:18"', one_of(*BACKBONES))
    use_bias: bool = define("in convolutions before a batch normalisation")
    activation: Activation = define("of an efficientnet; others have their own")


@message
class NetworkConfig(Network):
    """The network in TLT 2."""

    feature_extractor: str = define("the backbone", now="model_config.arch")
    conv_bn_share_bias: bool = define(
        "no bias in convolutions before a batch normalisation", now="model_config.use_bias"
    )


@message
class EtltModel:
    """An exported model to make an engine of, up to TLT 3."""

    model: str = define("its file")
    calibration_cache: str = define("of 8-bit numbers")


@message
class TrtConfig:
    """A TensorRT engine to run instead of the model."""

    trt_engine: str = define("its file")
    etlt_model: EtltModel | None = define("an exported model to make it of", dialects=_TO_TLT_3)
    trt_data_type: str = define("of its numbers", dialects=_TO_TLT_3)
    max_workspace_size_MB: int = define("while it is built", dialects=_TO_TLT_3)  # noqa: N815


@message
class Prediction:
    """How predictions are made."""

    model: str = define("that predicts")
    batch_size: int = define("images at a time; 0 means 1")
    rpn_pre_nms_top_N: int = define("proposals an image before suppression")  # noqa: N815
    rpn_nms_max_boxes: int = define("and after it, at most", at_least(1))
    rpn_nms_overlap_threshold: float = define("IoU above which the weaker of two proposals goes", between(0, 1))
    object_confidence_thres: float = define("predictions must score more", between(0, 1))
    classifier_nms_max_boxes: int = define("predictions an image at most", at_least(1))
    classifier_nms_overlap_threshold: float = define(
        "IoU above which the weaker of two predictions goes", between(0, 1)
    )


@message
class InferenceConfig(Prediction):
    """How images are predicted, and what is written."""

    images_dir: str = define("of the images")
    bbox_visualize_threshold: float = define("predictions are drawn and written from this score", between(0, 1))
    detection_image_output_dir: str = define("for images with boxes")
    bbox_caption_on: bool = define("write class and score at the box")
    labels_dump_dir: str = define("for label files")
    trt_inference: TrtConfig | None = define("an engine instead of the model", _ENGINE)
    nms_score_bits: int = define("of a TensorRT plugin", ignored("is for a TensorRT plugin"))


@message
class IoUThresholdRange:
    """Thresholds from the first to before the last."""

    start: float = define("the first", above(0))
    end: float = define("where they end", up_to(0, 1))
    step: float = define("between two", between(0, 1))


@message
class EvaluationConfig(Prediction):
    """How a model is evaluated."""

    labels_dump_dir: str = define(
        "for label files", ignored("as in TAO 5: inference writes labels"), dialects=_TO_TLT_3
    )
    use_voc07_11point_metric: bool = define("at eleven recalls, or the whole area under the curve")
    validation_period_during_training: int = define("epochs between two evaluations; 0 means 1")
    trt_evaluation: TrtConfig | None = define("an engine instead of the model", _ENGINE)
    gt_matching_iou_threshold_range: IoUThresholdRange | None = define(
        "what a prediction must overlap an object by, several in turn", oneof="iou_threshold_config"
    )
    gt_matching_iou_threshold: float | None = define(
        "what a prediction must overlap an object by", between(0, 1), oneof="iou_threshold_config"
    )
    visualize_pr_curve: bool = define("draw it")


@message
class AdamOptimizerConfig:
    """Adam, as in Keras; the schedule sets its rate and ``epsilon`` is not used."""

    lr: float = define("the rate", _RATE)
    beta_1: float = define("decay of the first moment")
    beta_2: float = define("decay of the second moment")
    epsilon: float = define("added to the root of the second moment", ignored("as in TAO"))
    decay: float = define("of the rate")
    amsgrad: bool = define("the greatest second moment so far")


@message
class SgdOptimizerConfig:
    """Stochastic gradient descent, as in Keras; the schedule sets its rate."""

    lr: float = define("the rate", _RATE)
    momentum: float = define("of the steps")
    decay: float = define("of the rate")
    nesterov: bool = define("look ahead")


@message
class RmspropOptimizerConfig:
    """RMSprop, as in Keras; the schedule sets its rate."""

    lr: float = define("the rate", _RATE)


@message
class OptimizerConfig:
    """One of the three."""

    adam: AdamOptimizerConfig | None = define("Adam", oneof="optim")
    sgd: SgdOptimizerConfig | None = define("gradient descent", oneof="optim")
    rmsprop: RmspropOptimizerConfig | None = define("RMSprop", oneof="optim")


@message
class SoftStartAnnealingConfig:
    """Linearly up, then down in steps."""

    base_lr: float = define("after the way up", above(0))
    start_lr: float = define("at the start", above(0))
    soft_start: float = define("share of the training that the way up takes", within(0, 1))
    annealing_points: tuple[float, ...] = define("shares of the training at which the rate falls, rising")
    annealing_divider: float = define("what it is divided by at each", above(0))


@message
class StepLrConfig:
    """Smoothly down."""

    base_lr: float = define("at the start", above(0))
    gamma: float = define("factor", within(0, 1))
    step_size: float = define("percent of the training in which the rate falls by the factor", up_to(0, 100))


@message
class LRConfig:
    """One of the two."""

    soft_start: SoftStartAnnealingConfig | None = define("linearly up, then down in steps", oneof="lr_config")
    step: StepLrConfig | None = define("smoothly down", oneof="lr_config")


@message
class RegConfig:
    """TLT 2's regulariser: "L1", "L2" or none, and its weight."""

    reg_type: str = define("L1, L2 or none", now="training_config.regularizer.type")
    weight_decay: float = define("its weight", now="training_config.regularizer.weight")


@message
class TrainingConfig:
    """How the network is trained; the last six are TLT 2's."""

    enable_augmentation: bool = define("change training images")
    retrain_pruned_model: str = define("a pruned model to retrain")
    pretrained_weights: str = define("a model to take weights from")
    resume_from_model: str = define("a model to go on from")
    output_model: str = define("up to TAO 4: the name of saved models, before their epoch", dialects=_TO_TLT_3)
    rpn_min_overlap: float = define("anchors that overlap an object by less are background", above(0))
    rpn_max_overlap: float = define("anchors that overlap an object by so much answer for it", up_to(0, 1))
    classifier_min_overlap: float = define("proposals that overlap an object by less are not learnt from", at_least(0))
    classifier_max_overlap: float = define("proposals that overlap an object by so much answer for it", up_to(0, 1))
    gt_as_roi: bool = define("learn from the objects' own boxes too")
    std_scaling: float = define("what the offsets of proposals are divided by", above(0))
    classifier_regr_std: Mapping[str, float] = define(
        "what the second stage's offsets are multiplied by: x, y, w and h"
    )
    batch_size_per_gpu: int = define("images at a time", at_least(1))
    num_epochs: int = define("passes over the data", at_least(1))
    checkpoint_interval: int = define("epochs between two saved models; 0 means 1")
    rpn_pre_nms_top_N: int = define("proposals an image before suppression")  # noqa: N815
    rpn_mini_batch: int = define("anchors of an image that the first stage learns from", at_least(1))
    rpn_nms_max_boxes: int = define("proposals an image after suppression, at most", at_least(1))
    rpn_nms_overlap_threshold: float = define("IoU above which the weaker of two proposals goes", between(0, 1))
    regularizer: RegularizerConfig = define("penalty on the kernels", dialects=LATER)
    optimizer: OptimizerConfig = define("one of three", required=True)
    learning_rate: LRConfig = define("the schedule", required=True, dialects=LATER)
    lambda_rpn_regr: float = define("weight of the first stage's box loss", above(0))
    lambda_rpn_class: float = define("weight of the first stage's class loss", above(0))
    lambda_cls_regr: float = define("weight of the second stage's box loss", above(0))
    lambda_cls_class: float = define("weight of the second stage's class loss", above(0))
    enable_qat: bool = define("train for 8-bit inference", QAT)
    model_parallelism: tuple[float, ...] = define(
        "shares of the network that each GPU holds", ignored("every GPU holds the whole network"), dialects=LATER
    )
    early_stopping: EarlyStopping | None = define("when to end before the last epoch", dialects=LATER)
    visualizer: VisualizerConfig | None = define("what TensorBoard shows", dialects=LATER)
    kitti_data_config: DatasetConfig | None = define("the data", dialects=FIRST, now="dataset_config")
    data_augmentation: AugmentationConfig | None = define(
        "how images are changed", dialects=FIRST, now="augmentation_config", within=_IMAGES
    )
    reg_config: RegConfig | None = define("penalty on the kernels", dialects=FIRST, now="training_config.regularizer")
    lr_scheduler: LRConfig | None = define("the schedule", dialects=FIRST, now="training_config.learning_rate")
    inference_config: InferenceConfig | None = define(
        "how predictions are made", dialects=FIRST, now="inference_config"
    )
    evaluation_config: EvaluationConfig | None = define("how it is evaluated", dialects=FIRST, now="evaluation_config")


@message
class FasterRCNNSpec:
    """A whole spec."""

    random_seed: int = define("of everything that is drawn")
    verbose: bool = define("tell more", ignored("choose with --quiet and --debug"))
    enc_key: str = define("of encrypted models")
    dataset_config: DatasetConfig = define("what to train on and what to validate with", required=True, dialects=LATER)
    augmentation_config: AugmentationConfig = define(
        "how images are changed", required=True, dialects=LATER, within=_IMAGES
    )
    model_config: ModelConfig = define("the network", required=True, dialects=LATER)
    network_config: NetworkConfig | None = define("the network in TLT 2", dialects=FIRST, now="model_config")
    training_config: TrainingConfig = define(
        "how it is trained; in TLT 2 it holds all that is missing here", required=True
    )
    inference_config: InferenceConfig = define("how predictions are made", required=True, dialects=LATER)
    evaluation_config: EvaluationConfig = define("how it is evaluated", required=True, dialects=LATER)
