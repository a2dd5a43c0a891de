"""Faster R-CNN: what a spec must say to be trained, and TLT 2's specs in the form that all later versions have.

The checks are TAO's own, and those that TAO leaves to a crash.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Literal

from xraycls.tao.checks import check_below, check_fields, check_given, check_limit, check_means, lower_case_mapping
from xraycls.tao.common import RegularizerConfig
from xraycls.tao.fields import definitions
from xraycls.tao.limits import at_least, one_of
from xraycls.tao.networks.faster_rcnn_spec import (
    EvaluationConfig,
    FasterRCNNSpec,
    InferenceConfig,
    LRConfig,
    ModelConfig,
    Network,
    NetworkConfig,
    RegConfig,
    TrainingConfig,
)
from xraycls.tao.spec import Spec

# By the beginning of a backbone's name, the blocks that can be frozen.
_BLOCKS = {
    "resnet": range(4),
    "vgg": range(1, 6),
    "googlenet": range(8),
    "mobilenet_v1": range(12),
    "mobilenet_v2": range(14),
    "darknet": range(6),
}
_STRIDE = 16  # pixels between two anchors
_EXTENSIONS = ("jpg", "jpeg", "png")
_IMAGE = "model_config.input_image_config"
_RANGE = "evaluation_config.gt_matching_iou_threshold_range"
_REGULARIZERS: dict[str, Literal["NO_REG", "L1", "L2"]] = {"": "NO_REG", "none": "NO_REG", "l1": "L1", "l2": "L2"}
_FORMER = {"vgg16": "vgg:16", "resnet101": "resnet:101"}  # TAO has other networks of these names
_LOWEST_SCORE = 1e-4  # of evaluation in every sample of TLT 2, whose inference has no field for it
_RENAMED = tuple(
    sorted(
        ((field.now, name) for name, field in definitions(FasterRCNNSpec).items() if field.now),
        key=lambda names: -len(names[0]),
    )
)


def check_faster_rcnn(spec: Spec[FasterRCNNSpec]) -> None:
    """Raise SpecError for the first thing that keeps a Faster R-CNN from being trained."""
    spec = modern(spec)
    check_given(spec, "augmentation_config", "augmentation_config.preprocessing")
    check_fields(spec, "model_config", "training_config", "inference_config", "evaluation_config", "dataset_config")
    _check_model(spec)
    _check_training(spec)
    _check_schedule(spec)
    for holder in ("inference_config", "evaluation_config"):
        check_below(spec, f"{holder}.rpn_nms_max_boxes", f"{holder}.rpn_pre_nms_top_N")
    _check_evaluation(spec)
    _check_data(spec)


def check_evaluation(spec: Spec[FasterRCNNSpec]) -> None:
    """Raise SpecError for the first thing that keeps a trained Faster R-CNN from being evaluated."""
    check_given(spec, "dataset_config", "dataset_config.target_class_mapping")
    check_fields(spec, "evaluation_config")
    check_below(spec, "evaluation_config.rpn_nms_max_boxes", "evaluation_config.rpn_pre_nms_top_N")
    check_placement(spec)
    _check_evaluation(spec)
    _check_sources(spec)


def check_inference(spec: Spec[FasterRCNNSpec]) -> None:
    """Raise SpecError for the first thing that keeps ``inference_config`` from being used."""
    check_fields(spec, "inference_config")
    check_below(spec, "inference_config.rpn_nms_max_boxes", "inference_config.rpn_pre_nms_top_N")


def _check_model(spec: Spec[FasterRCNNSpec]) -> None:
    model, image = spec.config.model_config, spec.config.model_config.input_image_config
    if image.size_min is None and image.size_height_width is None:
        raise spec.mistake(_IMAGE, "must have size_height_width or size_min")
    field = f"{_IMAGE}.image_channel_mean"
    channels = "rgb" if image.image_type == "RGB" else "l"
    check_given(spec, field)
    check_means(spec, field, channels)
    for channel in channels:
        if not 0 < image.image_channel_mean[channel] < 255:
            raise spec.mistake(field, f"of {channel} must lie between 0 and 255")
    if model.rfcn_mode:
        raise spec.mistake("model_config.rfcn_mode", "asks for an R-FCN, which can't be built here", "Leave it out")
    _check_anchors(spec)
    blocks = next((blocks for name, blocks in _BLOCKS.items() if model.arch.startswith(name)), None)
    if blocks is not None and not set(model.freeze_blocks) <= set(blocks):
        message = f"of {model.arch} must be {blocks[0]} to {blocks[-1]}"
        raise spec.mistake("model_config.freeze_blocks", message)


def _check_anchors(spec: Spec[FasterRCNNSpec]) -> None:
    """Refuse anchors that all reach beyond the picture, where none counts and so nothing can be learnt."""
    size, anchors = spec.config.model_config.input_image_config.size_height_width, spec.config.model_config
    if size is None or not size.height or not size.width:
        return
    for scale in anchors.anchor_box_config.scale:
        for ratio in anchors.anchor_box_config.ratio:
            if _fits(scale * ratio**0.5, size.width) and _fits(scale / ratio**0.5, size.height):
                return
    message = f"leaves no anchor within a picture of {size.width} × {size.height} pixels, so there is nothing to learn"
    raise spec.mistake("model_config.anchor_box_config.scale", message, "Give sides well below those of the picture")


def _fits(side: float, length: int) -> bool:
    """Whether one of the anchors of a side lies between the first and the last pixel."""
    centres = (_STRIDE * (cell + 0.5) for cell in range(-(-length // _STRIDE)))
    return any(centre - side / 2 >= 0 and centre + side / 2 <= length - 1 for centre in centres)


def _check_training(spec: Spec[FasterRCNNSpec]) -> None:
    training = spec.config.training_config
    check_below(spec, "training_config.rpn_min_overlap", "training_config.rpn_max_overlap")
    check_below(spec, "training_config.classifier_min_overlap", "training_config.classifier_max_overlap")
    check_below(spec, "training_config.rpn_nms_max_boxes", "training_config.rpn_pre_nms_top_N")
    for name in "xywh":
        if training.classifier_regr_std.get(name, 0) <= 0:
            raise spec.mistake("training_config.classifier_regr_std", f"of {name} must be above 0")
    optimizer = training.optimizer
    if (optimizer.adam, optimizer.sgd, optimizer.rmsprop) == (None, None, None):
        raise spec.mistake("training_config.optimizer", "must have adam, sgd or rmsprop")


def _check_schedule(spec: Spec[FasterRCNNSpec]) -> None:
    rate = spec.config.training_config.learning_rate
    if (rate.soft_start, rate.step) == (None, None):
        raise spec.mistake("training_config.learning_rate", "must have soft_start or step")
    if rate.soft_start is not None:
        points = (rate.soft_start.soft_start, *rate.soft_start.annealing_points)
        if not all(low < high for low, high in zip(points, (*points[1:], 1.0), strict=True)) and len(points) > 1:
            message = "must rise, above soft_start and up to 1"
            raise spec.mistake("training_config.learning_rate.soft_start.annealing_points", message)


def _check_evaluation(spec: Spec[FasterRCNNSpec]) -> None:
    evaluation = spec.config.evaluation_config
    if (evaluation.gt_matching_iou_threshold, evaluation.gt_matching_iou_threshold_range) == (None, None):
        message = "must have gt_matching_iou_threshold or gt_matching_iou_threshold_range"
        raise spec.mistake("evaluation_config", message)
    if evaluation.gt_matching_iou_threshold_range is not None:
        check_below(spec, f"{_RANGE}.start", f"{_RANGE}.end")


def _check_data(spec: Spec[FasterRCNNSpec]) -> None:
    image, first = spec.config.model_config.input_image_config, spec.config.augmentation_config.preprocessing
    if size := image.size_height_width:
        for name in ("width", "height"):
            ours, theirs = getattr(first, f"output_image_{name}"), getattr(size, name)
            if ours and theirs and ours != theirs:
                field = f"augmentation_config.preprocessing.output_image_{name}"
                raise spec.mistake(field, f"is {ours}, but the network's is {theirs}")
    if image.size_min and image.size_min.min:
        if first.output_image_min not in (0, image.size_min.min):
            field = "augmentation_config.preprocessing.output_image_min"
            raise spec.mistake(field, f"is {first.output_image_min}, but the network's is {image.size_min.min}")
        if first.output_image_max < image.size_min.min:
            field = "augmentation_config.preprocessing.output_image_max"
            raise spec.mistake(field, f"is {first.output_image_max}; it must be {image.size_min.min} or more")
    check_placement(spec)
    check_fields(spec, *(f"augmentation_config.{kind}_augmentation" for kind in ("spatial", "color")))
    spatial = spec.config.augmentation_config.spatial_augmentation
    if 0 < spatial.zoom_max < spatial.zoom_min:
        raise spec.mistake("augmentation_config.spatial_augmentation.zoom_min", "is above zoom_max")
    channels = 3 if image.image_type == "RGB" else 1
    check_limit(spec, "augmentation_config.preprocessing.output_image_channel", one_of(channels))
    _check_sources(spec)


def check_placement(spec: Spec[FasterRCNNSpec]) -> None:
    """Raise SpecError for a crop without area, and for a factor or a least size below 0."""
    holder, first = "augmentation_config.preprocessing", spec.config.augmentation_config.preprocessing
    for low, high in (("left", "right"), ("top", "bottom")):
        start, end = getattr(first, f"crop_{low}"), getattr(first, f"crop_{high}")
        if (start or end) and start >= end:
            raise spec.mistake(f"{holder}.crop_{low}", f"is {start}; it must be below crop_{high}, which is {end}")
    if bool(first.crop_right) != bool(first.crop_bottom):
        side = "bottom" if first.crop_right else "right"
        raise spec.mistake(f"{holder}.crop_{side}", "is missing; a crop needs all four sides")
    for name in ("scale_width", "scale_height", "min_bbox_width", "min_bbox_height"):
        check_limit(spec, f"{holder}.{name}", at_least(0))


def _check_sources(spec: Spec[FasterRCNNSpec]) -> None:
    dataset = spec.config.dataset_config
    if dataset.image_extension.lower() not in _EXTENSIONS:
        check_limit(spec, "dataset_config.image_extension", one_of(*_EXTENSIONS))
    mapping = lower_case_mapping(spec, "dataset_config.target_class_mapping")
    if "background" in {*mapping, *mapping.values()}:
        raise spec.mistake("dataset_config.target_class_mapping", "has a class background, which is added by itself")
    for number, source in enumerate(dataset.data_sources):
        for name in ("tfrecords_path", "image_directory_path"):
            if not getattr(source, name):
                raise spec.mistake(f"dataset_config.data_sources[{number}].{name}", "is missing")


def modern(spec: Spec[FasterRCNNSpec]) -> Spec[FasterRCNNSpec]:
    """The spec in today's form; one of TLT 3 or later as it is.

    Raises:
        SpecError: a regulariser that isn't known.
    """
    config, training = spec.config, spec.config.training_config
    if spec.dialect != "TLT 2":
        return _spelt(spec)
    spec = replace(
        spec,
        config=replace(
            config,
            network_config=None,
            model_config=_model(config.network_config or NetworkConfig()),
            dataset_config=training.kitti_data_config or config.dataset_config,
            augmentation_config=training.data_augmentation or config.augmentation_config,
            training_config=_training(spec, training),
            inference_config=_inference(training.inference_config or InferenceConfig()),
            evaluation_config=_evaluation(training.evaluation_config or EvaluationConfig()),
        ),
        renamed=_RENAMED,
    )
    return _spelt(spec)


def _spelt(spec: Spec[FasterRCNNSpec]) -> Spec[FasterRCNNSpec]:
    """The spec with today's name of a backbone that once was another network of TAO's."""
    arch = spec.config.model_config.arch
    if arch not in _FORMER:
        return spec
    return spec.assuming("model_config.arch", _FORMER[arch], f"{arch} is built as {_FORMER[arch]}")


def _model(network: NetworkConfig) -> ModelConfig:
    name = network.feature_extractor
    return ModelConfig(
        arch="vgg16" if name == "vgg" else name,  # a sample's name, which later versions of it spell out
        use_bias=not network.conv_bn_share_bias,
        **{each.name: getattr(network, each.name) for each in fields(Network)},
    )


def _training(spec: Spec[FasterRCNNSpec], training: TrainingConfig) -> TrainingConfig:
    old = training.reg_config or RegConfig()
    kind = _REGULARIZERS.get(old.reg_type.lower())
    if kind is None:
        message = f"is {old.reg_type!r}; it must be one of L1, L2, none"
        raise spec.mistake("training_config.reg_config.reg_type", message)
    return replace(
        training,
        regularizer=RegularizerConfig(kind, old.weight_decay),
        learning_rate=training.lr_scheduler or LRConfig(),
        kitti_data_config=None,
        data_augmentation=None,
        reg_config=None,
        lr_scheduler=None,
        inference_config=None,
        evaluation_config=None,
    )


def _inference(inference: InferenceConfig) -> InferenceConfig:
    return replace(inference, object_confidence_thres=inference.object_confidence_thres or _LOWEST_SCORE)


def _evaluation(evaluation: EvaluationConfig) -> EvaluationConfig:
    if evaluation.gt_matching_iou_threshold_range is not None:
        return evaluation
    iou = evaluation.gt_matching_iou_threshold
    return replace(evaluation, gt_matching_iou_threshold=0.5 if iou is None else iou)
