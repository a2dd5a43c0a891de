"""Faster R-CNN: what a spec says, as a job that trains and evaluates it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xraycls.loaders.recipes.detectnet import DetectNetRecipe, Placement
from xraycls.loaders.views import Canvas
from xraycls.tao.checks import lower_case_mapping
from xraycls.tao.detectnet import ColorAugmentation, SpatialAugmentation
from xraycls.tao.mounts import Mounts
from xraycls.tao.networks.base import TaoNetwork
from xraycls.tao.networks.faster_rcnn_checks import check_evaluation, check_faster_rcnn, check_inference, modern
from xraycls.tao.networks.faster_rcnn_files import (
    backbone_of,
    faster_rcnn_inference,
    faster_rcnn_initial_epoch,
    faster_rcnn_judged,
    faster_rcnn_results,
    path_in,
)
from xraycls.tao.networks.faster_rcnn_spec import FasterRCNNSpec, LRConfig, OptimizerConfig, Prediction
from xraycls.tao.networks.keras_models import faster_rcnn_keras
from xraycls.tao.spec import Spec
from xraycls.training.annealing import ExponentialSteps, SoftStartSteps

if TYPE_CHECKING:
    from xraycls.data.box_sources import BoxData, BoxSource
    from xraycls.models.detection.base import Suppression
    from xraycls.models.detection.faster_rcnn import FasterRCNNConfig
    from xraycls.models.detection.proposals import ProposalSettings
    from xraycls.training.config import LoopConfig
    from xraycls.training.job import DetectionJob, EvaluationConfig
    from xraycls.training.optimizers import OptimizerConfig as Optimizer

_ROTATION = "augmentation_config.spatial_augmentation.rotate_probability"
_IMAGE = "model_config.input_image_config"
_KERAS_EPSILON = 1e-7  # of its optimisers


def faster_rcnn_job(spec: Spec[FasterRCNNSpec], mounts: Mounts | None = None) -> DetectionJob:
    """Returns what a spec of Faster R-CNN says, as a job.

    Args:
        spec: of :func:`xraycls.tao.spec.open_spec`, in any dialect.
        mounts: where folders of TAO's container lie here; None for none.

    Raises:
        SpecError: the spec has a value that TAO refuses or can't use, or lacks one; names file, line and field.
    """
    check_faster_rcnn(spec)
    from xraycls.training.detection import Regularizer
    from xraycls.training.job import DetectionJob

    spec, places = modern(spec), mounts or Mounts()
    data, training, model = _data(spec, places), spec.config.training_config, spec.config.model_config
    detector = _detector(spec, data.classes)
    return DetectionJob(
        detector=detector,
        data=data,
        recipe=_recipe(spec, Canvas(detector.height, detector.width, 0)),
        optimizer=_optimizer(training.optimizer),
        rate=_rate(training.learning_rate, training.optimizer),
        loop=_loop(spec.config),
        evaluation=_evaluation(spec.config),
        batch_size=training.batch_size_per_gpu,
        regularizer=Regularizer(training.regularizer.type, training.regularizer.weight),
        freeze_blocks=tuple(int(block) for block in model.freeze_blocks),
        freeze_bn=model.freeze_bn,
        weights=_weights(spec, places),
        checkpoint_every=training.checkpoint_interval or 1,
        tensorboard=training.visualizer is not None and training.visualizer.enabled,
        qat=training.enable_qat,
    )


def faster_rcnn_evaluation(
    spec: Spec[FasterRCNNSpec], mounts: Mounts | None = None
) -> tuple[BoxData, EvaluationConfig, Suppression]:
    """Returns what a spec says of evaluating a trained model: validation data, how it is judged, and suppression.

    Nothing else in the spec need be right or there. Arguments and errors are those of :func:`faster_rcnn_job`.
    """
    spec = modern(spec)
    check_evaluation(spec)
    config = spec.config
    return _data(spec, mounts or Mounts()), _evaluation(config), predicting(config.evaluation_config)[1]


def faster_rcnn_suppression(spec: Spec[FasterRCNNSpec]) -> Suppression:
    """Returns what ``inference_config`` says; raises SpecError as :func:`faster_rcnn_job`, of that alone."""
    spec = modern(spec)
    check_inference(spec)
    return predicting(spec.config.inference_config)[1]


def faster_rcnn_proposals(spec: Spec[FasterRCNNSpec], task: Literal["evaluation", "inference"]) -> ProposalSettings:
    """Returns how many regions the first stage proposes in a task."""
    config = modern(spec).config
    return predicting(config.evaluation_config if task == "evaluation" else config.inference_config)[0]


def predicting(prediction: Prediction) -> tuple[ProposalSettings, Suppression]:
    """Returns the proposals and the suppression that ``evaluation_config`` or ``inference_config`` asks for."""
    from xraycls.models.detection.base import Suppression
    from xraycls.models.detection.proposals import ProposalSettings

    return (
        ProposalSettings(
            prediction.rpn_pre_nms_top_N, prediction.rpn_nms_max_boxes, prediction.rpn_nms_overlap_threshold
        ),
        Suppression(
            prediction.object_confidence_thres,
            prediction.classifier_nms_overlap_threshold,
            prediction.classifier_nms_max_boxes,
        ),
    )


def iou_thresholds(spec: FasterRCNNSpec) -> tuple[float, ...]:
    """Returns the overlaps that an evaluation asks for, as ``gt_matching_iou_threshold`` or its range has them."""
    evaluation = spec.evaluation_config
    steps = evaluation.gt_matching_iou_threshold_range
    if steps is None:
        return (_shortest(evaluation.gt_matching_iou_threshold or 0.5),)
    start, end, step = (_shortest(each) for each in (steps.start, steps.end, steps.step))
    return tuple(start + number * step for number in range(math.ceil((end - start) / step)))


def _shortest(value: float) -> float:
    """The number that was written, of which a spec's fields hold the nearest float32."""
    return float(f"{value:.7g}")


def _detector(spec: Spec[FasterRCNNSpec], classes: tuple[str, ...]) -> FasterRCNNConfig:
    from xraycls.models.detection.faster_rcnn import FasterRCNNConfig
    from xraycls.models.detection.faster_rcnn_loss import FasterRCNNLoss
    from xraycls.models.detection.proposals import ProposalSettings

    model, training = spec.config.model_config, spec.config.training_config
    image = model.input_image_config
    height, width = _size(spec)
    order: Literal["rgb", "bgr", "l"] = "l"
    if image.image_type == "RGB":
        order = "rgb" if image.image_channel_order == "rgb" else "bgr"
    proposals, suppression = predicting(spec.config.evaluation_config)
    across, down, wide, high = (training.classifier_regr_std[name] for name in "xywh")
    # TAO reads it for EfficientNet alone.
    chosen: Any = model.activation.activation_type if model.arch.startswith("efficientnet") else None
    return FasterRCNNConfig(
        backbone=backbone_of(model.arch),
        classes=classes,
        height=height,
        width=width,
        mean=tuple(image.image_channel_mean[channel] for channel in order),
        suppression=suppression,
        scales=model.anchor_box_config.scale,
        ratios=model.anchor_box_config.ratio,
        use_bias=model.use_bias,
        all_projections=model.all_projections,
        use_pooling=model.use_pooling,
        pool_size=model.roi_pooling_config.pool_size or 7,
        pool_size_2x=model.roi_pooling_config.pool_size_2x,
        dropout=model.dropout_rate,
        drop_connect=model.drop_connect_rate,
        activation=chosen or None,
        channel_order=order,
        scaling=image.image_scaling_factor,
        sides=_sides(spec),
        std_scaling=training.std_scaling,
        spread=(across, down, wide, high),
        proposals=proposals,
        loss=FasterRCNNLoss(
            proposals=ProposalSettings(
                training.rpn_pre_nms_top_N, training.rpn_nms_max_boxes, training.rpn_nms_overlap_threshold
            ),
            rpn_positive=training.rpn_max_overlap,
            rpn_negative=training.rpn_min_overlap,
            rpn_batch=training.rpn_mini_batch,
            roi_positive=training.classifier_max_overlap,
            roi_negative=training.classifier_min_overlap,
            roi_batch=model.roi_mini_batch,
            gt_as_roi=training.gt_as_roi,
            rpn_class_weight=training.lambda_rpn_class,
            rpn_box_weight=training.lambda_rpn_regr,
            roi_class_weight=training.lambda_cls_class,
            roi_box_weight=training.lambda_cls_regr,
        ),
    )


def _size(spec: Spec[FasterRCNNSpec]) -> tuple[int, int]:
    """Height and width of the input; where TAO's has no fixed size, that of the largest picture."""
    size, first = spec.config.model_config.input_image_config, spec.config.augmentation_config.preprocessing
    if sides := _sides(spec):
        return sides[1], sides[1]
    height, width = first.output_image_height, first.output_image_width
    if fixed := size.size_height_width:
        height, width = fixed.height or height, fixed.width or width
    if not height or not width:
        hint = "Give size_height_width { height: 512 width: 512 }"
        raise spec.mistake(f"{_IMAGE}.size_height_width", "leaves the size of the input open", hint)
    return height, width


def _sides(spec: Spec[FasterRCNNSpec]) -> tuple[int, int] | None:
    """Of an input of no fixed size, what the shorter side becomes and the longer is at most; else None."""
    size = spec.config.model_config.input_image_config.size_min
    return (size.min, spec.config.augmentation_config.preprocessing.output_image_max) if size and size.min else None


def _data(spec: Spec[FasterRCNNSpec], mounts: Mounts) -> BoxData:
    from xraycls.data.box_sources import BoxData

    dataset = spec.config.dataset_config
    mapping = lower_case_mapping(spec, "dataset_config.target_class_mapping")
    names = [f"dataset_config.data_sources[{number}]" for number in range(len(dataset.data_sources))]
    validation = ["dataset_config.validation_data_source"] if dataset.validation_data_source else []
    return BoxData(
        training=tuple(_source(spec, name, mounts) for name in names),
        validation=tuple(_source(spec, name, mounts) for name in validation),
        classes=tuple(sorted(set(mapping.values()))),
        mapping=mapping,
        validation_fold=dataset.validation_fold,
        most_objects=spec.config.model_config.input_image_config.max_objects_num_per_image or None,
        image_extension=dataset.image_extension.removeprefix("."),
    )


def _source(spec: Spec[FasterRCNNSpec], field: str, mounts: Mounts) -> BoxSource:
    from xraycls.data.box_sources import BoxSource

    records, images = (path_in(spec, f"{field}.{part}", mounts) for part in ("tfrecords_path", "image_directory_path"))
    return BoxSource(records=records, images=images)


def _weights(spec: Spec[FasterRCNNSpec], mounts: Mounts) -> Path | None:
    """What training starts from: a model to go on from, else a pruned one, else pretrained weights, as in TAO."""
    fields = (FASTER_RCNN.resumed, FASTER_RCNN.pruned, FASTER_RCNN.pretrained)
    paths = (path_in(spec, field, mounts) for field in fields)
    return next((path for path in paths if path), None)


def faster_rcnn_view(spec: Spec[FasterRCNNSpec], canvas: Canvas) -> DetectNetRecipe:
    """Returns how a spec brings pictures onto the input of a trained network in evaluation, where it may have another
    size than in the spec."""
    spec = modern(spec)
    height, width = _size(spec)
    return DetectNetRecipe(Canvas(height, width), _placement(spec)).resized(canvas.width, canvas.height)


def _placement(spec: Spec[FasterRCNNSpec]) -> Placement:
    first = spec.config.augmentation_config.preprocessing
    if sides := _sides(spec):
        return Placement(sides=sides)
    corners = (first.crop_left, first.crop_top, first.crop_right, first.crop_bottom)
    return Placement(
        crop=corners if any(corners) else None,
        resize=first.enable_auto_resize,
        scale=(first.scale_width or 1.0, first.scale_height or 1.0),
    )


def _recipe(spec: Spec[FasterRCNNSpec], canvas: Canvas) -> DetectNetRecipe:
    """The augmentation of DetectNet's messages; an input of no fixed size is flipped alone, as in TAO."""
    augmentation, placement = spec.config.augmentation_config, _placement(spec)
    first = augmentation.preprocessing
    smallest = (first.min_bbox_width, first.min_bbox_height)
    spatial = augmentation.spatial_augmentation or SpatialAugmentation()
    if not spec.config.training_config.enable_augmentation or placement.sides:
        flip = spatial.hflip_probability * spec.config.training_config.enable_augmentation
        return DetectNetRecipe(canvas, placement, flip, smallest=smallest)
    color = augmentation.color_augmentation or ColorAugmentation()
    always = spatial.rotate_probability == 0 and spec.line(_ROTATION) is None  # older specs have no such field
    return DetectNetRecipe(
        canvas,
        placement,
        horizontal_flip=spatial.hflip_probability,
        rotation=spatial.rotate_rad_max,
        rotation_probability=1.0 if always else spatial.rotate_probability,
        zoom=(spatial.zoom_min or 1.0, spatial.zoom_max or 1.0),
        shift=(int(spatial.translate_max_x), int(spatial.translate_max_y)),
        contrast=color.contrast_scale_max,
        contrast_center=color.contrast_center,
        color_shift=color.color_shift_stddev,
        smallest=smallest,
    )


def _optimizer(optimizer: OptimizerConfig) -> Optimizer:
    """TAO's optimisers have Keras' constants, whatever ``epsilon`` says."""
    from xraycls.training.optimizers import OptimizerConfig as Optimizer

    if (adam := optimizer.adam) is not None:
        betas = (adam.beta_1, adam.beta_2)
        return Optimizer("adam", options={"betas": betas, "eps": _KERAS_EPSILON, "amsgrad": adam.amsgrad})
    if (sgd := optimizer.sgd) is not None:
        return Optimizer("sgd", options={"momentum": sgd.momentum, "nesterov": sgd.nesterov and sgd.momentum > 0})
    return Optimizer("rmsprop", options={"alpha": 0.9, "eps": _KERAS_EPSILON, "momentum": 0.0})


def _rate(rate: LRConfig, optimizer: OptimizerConfig) -> SoftStartSteps | ExponentialSteps:
    decay = next((each.decay for each in (optimizer.adam, optimizer.sgd) if each is not None), 0.0)
    if (soft := rate.soft_start) is not None:
        return SoftStartSteps(
            soft.start_lr, soft.base_lr, soft.soft_start, soft.annealing_points, soft.annealing_divider, decay
        )
    step = rate.step
    if step is None:  # check_faster_rcnn refuses it
        raise ValueError("a spec of Faster R-CNN has a learning rate")
    return ExponentialSteps(step.base_lr, step.gamma, step.step_size, decay)


def _loop(config: FasterRCNNSpec) -> LoopConfig:
    """Epochs, validation and early stopping, whose only monitor in TAO is the loss of training."""
    from xraycls.training.config import LoopConfig

    stopping = config.training_config.early_stopping
    return LoopConfig(
        epochs=config.training_config.num_epochs,
        seed=config.random_seed,
        validate_every=config.evaluation_config.validation_period_during_training or 1,
        monitor="train_loss" if stopping else "mAP",
        higher_is_better=stopping is None,
        patience=stopping.patience if stopping else None,
        min_delta=stopping.min_delta if stopping else 0.0,
    )


def _evaluation(config: FasterRCNNSpec) -> EvaluationConfig:
    from xraycls.training.job import EvaluationConfig

    evaluation, ious = config.evaluation_config, iou_thresholds(config)
    return EvaluationConfig(
        batch_size=evaluation.batch_size or 1,
        mode="sample" if evaluation.use_voc07_11point_metric else "integrate",
        iou=ious[0],
        ious=ious if len(ious) > 1 else (),
        rule="voc",
        curves=evaluation.visualize_pr_curve,
    )


FASTER_RCNN = TaoNetwork(
    name="faster_rcnn",
    title="Faster R-CNN",
    spec=FasterRCNNSpec,
    marks=tuple(
        ("faster_rcnn", marks)
        for marks in (
            "network_config",
            "model_config inference_config",
            "model_config evaluation_config",
            "model_config enc_key",
            "model_config augmentation_config",
        )
    ),
    check=check_faster_rcnn,
    modern=modern,
    verbs=("train", "evaluate", "inference", "prune", "export"),
    job=faster_rcnn_job,
    evaluation=faster_rcnn_evaluation,
    view=faster_rcnn_view,
    suppression=faster_rcnn_suppression,
    keras=faster_rcnn_keras,
    proposals=faster_rcnn_proposals,
    optional={"train": ("results_dir",), "evaluate": ("model",), "inference": ("model", "images")},
    results=faster_rcnn_results,
    pretrained="training_config.pretrained_weights",
    pruned="training_config.retrain_pruned_model",
    resumed="training_config.resume_from_model",
    initial_epoch=faster_rcnn_initial_epoch,
    judged=faster_rcnn_judged,
    inference=faster_rcnn_inference,
    is_strict=True,
    decimals=(2, 7),
)
