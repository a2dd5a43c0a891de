"""TLT 2's specs of Faster R-CNN in the form that all later versions have."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Literal

from xraycls.tao.common import RegularizerConfig
from xraycls.tao.faster_rcnn import FasterRCNNSpec
from xraycls.tao.faster_rcnn_inference import EvaluationConfig, InferenceConfig
from xraycls.tao.faster_rcnn_model import ModelConfig, NetworkConfig
from xraycls.tao.faster_rcnn_training import LRConfig, RegConfig, TrainingConfig
from xraycls.tao.spec import Spec

_RENAMED = (
    ("training_config.regularizer.type", "training_config.reg_config.reg_type"),
    ("training_config.regularizer.weight", "training_config.reg_config.weight_decay"),
    ("training_config.regularizer", "training_config.reg_config"),
    ("training_config.learning_rate", "training_config.lr_scheduler"),
    ("model_config.arch", "network_config.feature_extractor"),
    ("model_config.use_bias", "network_config.conv_bn_share_bias"),
    ("model_config", "network_config"),
    ("dataset_config", "training_config.kitti_data_config"),
    ("augmentation_config", "training_config.data_augmentation"),
    ("inference_config", "training_config.inference_config"),
    ("evaluation_config", "training_config.evaluation_config"),
)
_REGULARIZERS: dict[str, Literal["NO_REG", "L1", "L2"]] = {"": "NO_REG", "none": "NO_REG", "l1": "L1", "l2": "L2"}
_LOWEST_SCORE = 1e-4  # of evaluation in every sample of TLT 2, whose inference has no field for it


def modern(spec: Spec[FasterRCNNSpec]) -> Spec[FasterRCNNSpec]:
    """The spec in today's form; one of TLT 3 or later as it is.

    Raises:
        SpecError: a regulariser that isn't known.
    """
    config, training = spec.config, spec.config.training_config
    if spec.dialect != "TLT 2":
        return spec
    return replace(
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


def _model(network: NetworkConfig) -> ModelConfig:
    shared = {each.name for each in fields(ModelConfig)} & {each.name for each in fields(NetworkConfig)}
    name = network.feature_extractor
    return ModelConfig(
        arch="vgg16" if name == "vgg" else name,  # a sample's name, which later versions of it spell out
        use_bias=not network.conv_bn_share_bias,
        **{each: getattr(network, each) for each in shared},
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
