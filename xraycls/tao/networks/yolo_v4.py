"""YOLOv4 and YOLOv4-tiny of TAO: what their specs mean, as jobs of training and evaluation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from xraycls.loaders.recipes.yolo_v4 import YoloV4Recipe
from xraycls.loaders.views import Canvas
from xraycls.tao.checks import lower_case_mapping, read_list
from xraycls.tao.common import LearningRateConfig, OptimizerConfig
from xraycls.tao.literal import pairs
from xraycls.tao.mounts import Mounts
from xraycls.tao.networks.base import TaoNetwork
from xraycls.tao.networks.keras_models import yolo_v4_keras
from xraycls.tao.networks.parts import MEANS, box_sources, evaluation_config, suppression_of
from xraycls.tao.networks.yolo_v4_checks import check_evaluation, check_suppression, check_yolo_v4, modern
from xraycls.tao.networks.yolo_v4_spec import LAYERS, YOLOv4Spec
from xraycls.tao.spec import Spec, value_at
from xraycls.training.annealing import SoftStartAnnealing, SoftStartCosine

if TYPE_CHECKING:
    from xraycls.data.box_sources import BoxData
    from xraycls.models.detection.base import Suppression
    from xraycls.models.detection.yolo_v4 import YOLOv4Config as Detector
    from xraycls.models.detection.yolo_v4_loss import YOLOv4Loss
    from xraycls.training.config import LoopConfig
    from xraycls.training.job import DetectionJob, EvaluationConfig
    from xraycls.training.optimizers import OptimizerConfig as Optimizer

_EMA, _EMA_WARMUP = 0.999, 2000.0  # of TAO's model_ema


def yolo_v4_job(spec: Spec[YOLOv4Spec], mounts: Mounts | None = None) -> DetectionJob:
    """Returns what a spec of YOLOv4 says, as a job.

    Args:
        spec: of :func:`xraycls.tao.programs.open_spec`.
        mounts: where folders of TAO's container lie here; None for none.

    Raises:
        SpecError: the spec has a value that TAO refuses or can't use, or lacks one; names file, line and field.
    """
    check_yolo_v4(spec)
    from xraycls.training.detection import Regularizer
    from xraycls.training.job import DetectionJob

    spec = modern(spec)
    config = spec.config
    training, network, augmentation = config.training_config, config.yolov4_config, config.augmentation_config
    data = _data(spec, mounts or Mounts())
    load = training.pretrain_model_path or training.pruned_model_path or training.resume_model_path
    return DetectionJob(
        detector=_detector(spec, data.classes),
        data=data,
        recipe=YoloV4Recipe(
            Canvas(augmentation.output_height, augmentation.output_width, None),
            exposure=augmentation.exposure,
            vertical_flip=augmentation.vertical_flip,
            horizontal_flip=augmentation.horizontal_flip,
            jitter=augmentation.jitter,
            mosaic=augmentation.mosaic_prob,
            mosaic_min_ratio=augmentation.mosaic_min_ratio,
            shape_period=augmentation.randomize_input_shape_period,
        ),
        optimizer=_optimizer(training.optimizer),
        rate=_rate(training.learning_rate),
        loop=_loop(config),
        evaluation=evaluation_config(config.eval_config),
        batch_size=training.batch_size_per_gpu,
        regularizer=Regularizer(training.regularizer.type, training.regularizer.weight),
        freeze_blocks=tuple(int(block) for block in network.freeze_blocks),
        freeze_bn=network.freeze_bn,
        weights=(mounts or Mounts()).path(load) if load else None,
        checkpoint_every=training.checkpoint_interval,
        tensorboard=training.visualizer is not None and training.visualizer.enabled,
        threads=training.n_workers or None,
        qat=training.enable_qat,
    )


def yolo_v4_evaluation(
    spec: Spec[YOLOv4Spec], mounts: Mounts | None = None
) -> tuple[BoxData, EvaluationConfig, Suppression]:
    """Returns what a spec says of evaluating a trained model: validation data, how it is judged, and suppression.

    Nothing else in the spec need be right or there. Arguments and errors are those of :func:`yolo_v4_job`.
    """
    check_evaluation(spec)
    data = _data(spec, mounts or Mounts(), training=not spec.config.dataset_config.validation_data_sources)
    return data, evaluation_config(spec.config.eval_config), suppression_of(spec.config.nms_config)


def yolo_v4_suppression(spec: Spec[YOLOv4Spec]) -> Suppression:
    """Returns what the ``nms_config`` of a spec says; raises SpecError as :func:`yolo_v4_job`, of that alone."""
    check_suppression(spec)
    return suppression_of(spec.config.nms_config)


def _initial_epoch(spec: Spec[YOLOv4Spec]) -> int:
    """The epoch after that of ``resume_model_path``, which TAO reads from the file's name."""
    field = "training_config.resume_model_path"
    if not (name := value_at(spec.config, field)):
        return 1
    if found := re.search(r"_epoch_(\d+)", name.rpartition("/")[2]):
        return int(found[1]) + 1
    raise spec.mistake(
        field,
        "has no epoch in its name",
        "Name a file such as yolov4_resnet18_epoch_010.tlt, or use pretrain_model_path",
    )


def _detector(spec: Spec[YOLOv4Spec], classes: tuple[str, ...]) -> Detector:
    from xraycls.models.detection.yolo_v4 import YOLOv4Config

    network, augmentation = spec.config.yolov4_config, spec.config.augmentation_config
    maps = ("big", "mid", "small") if network.small_anchor_shape else ("big", "mid")
    channels = "bgr" if augmentation.output_channel == 3 else "l"
    activation: Any = network.activation or "leaky_relu"
    return YOLOv4Config(
        backbone=f"{network.arch}{network.nlayers if LAYERS[network.arch] else ''}",
        classes=classes,
        height=augmentation.output_height,
        width=augmentation.output_width,
        mean=tuple((augmentation.image_mean or MEANS)[channel] for channel in channels),
        suppression=suppression_of(spec.config.nms_config),
        anchors=tuple(read_list(spec, f"yolov4_config.{name}_anchor_shape", pairs) for name in maps),
        extend=(network.big_grid_xy_extend, network.mid_grid_xy_extend, network.small_grid_xy_extend)[: len(maps)],
        activation=activation,
        force_relu=network.force_relu,
        loss=_loss(spec, classes),
    )


def _loss(spec: Spec[YOLOv4Spec], classes: tuple[str, ...]) -> YOLOv4Loss:
    from xraycls.models.detection.yolo_v4_loss import YOLOv4Loss

    network = spec.config.yolov4_config
    weights = spec.config.class_weighting_config.class_weighting
    focal = network.focal_loss_alpha, network.focal_loss_gamma
    return YOLOv4Loss(
        matching=network.box_matching_iou,
        neutral=network.matching_neutral_box_iou,
        box_weight=network.loss_loc_weight,
        class_weight=network.loss_class_weights,
        background_weight=network.loss_neg_obj_weights,
        smoothing=network.label_smoothing,
        focal=focal if all(focal) else None,
        class_weights=tuple(weights.get(name, 1.0) for name in classes) if weights else (),
    )


def _data(spec: Spec[YOLOv4Spec], mounts: Mounts, *, training: bool = True) -> BoxData:
    from xraycls.data.box_sources import BoxData

    dataset = spec.config.dataset_config
    mapping = lower_case_mapping(spec, "dataset_config.target_class_mapping")
    return BoxData(
        classes=tuple(sorted(set(mapping.values()))),
        mapping=mapping,
        training=box_sources(spec, "data_sources", mounts) if training else (),
        validation=box_sources(spec, "validation_data_sources", mounts),
        validation_fold=None if dataset.validation_data_sources else dataset.validation_fold,
        image_extension=dataset.image_extension.removeprefix("."),
        learn_difficult=dataset.include_difficult_in_training,
    )


def _rate(rate: LearningRateConfig) -> SoftStartAnnealing | SoftStartCosine:
    if (cosine := rate.soft_start_cosine_annealing_schedule) is not None:
        return SoftStartCosine(cosine.min_learning_rate, cosine.max_learning_rate, cosine.soft_start)
    plain = rate.soft_start_annealing_schedule
    assert plain is not None  # the check has seen one of the two
    return SoftStartAnnealing(plain.min_learning_rate, plain.max_learning_rate, plain.soft_start, plain.annealing)


def _optimizer(given: OptimizerConfig) -> Optimizer:
    from xraycls.training.optimizers import OptimizerConfig as Optimizer

    if (adam := given.adam) is not None:
        options: dict[str, Any] = {
            "betas": (adam.beta1, adam.beta2),
            "eps": adam.epsilon,
            "amsgrad": adam.amsgrad,
        }
        return Optimizer("keras_adam", options=options)
    if (sgd := given.sgd) is not None:
        return Optimizer("keras_sgd", options={"momentum": sgd.momentum, "nesterov": sgd.nesterov})
    rms = given.rmsprop
    assert rms is not None  # the check has seen one of the three
    options = {"alpha": rms.rho, "momentum": rms.momentum, "eps": rms.epsilon, "centered": rms.centered}
    return Optimizer("rmsprop", options=options)


def _loop(config: YOLOv4Spec) -> LoopConfig:
    """Epochs, validation with every checkpoint as in TAO 3, and early stopping by the training loss."""
    from xraycls.training.config import LoopConfig

    training, stopping = config.training_config, config.training_config.early_stopping
    return LoopConfig(
        epochs=training.num_epochs,
        seed=config.random_seed,
        ema=_EMA if training.model_ema else None,
        ema_warmup=_EMA_WARMUP if training.model_ema else 0.0,
        validate_every=training.checkpoint_interval,
        monitor="train_loss" if stopping else "mAP",
        higher_is_better=stopping is None,
        patience=stopping.patience if stopping else None,
        min_delta=stopping.min_delta if stopping else 0.0,
    )


YOLO_V4 = TaoNetwork(
    name="yolo_v4",
    weights_name="yolov4",
    title="YOLOv4",
    spec=YOLOv4Spec,
    marks=(("yolo_v4", "yolov4_config"),),
    check=check_yolo_v4,
    verbs=("kmeans", "train", "evaluate", "inference", "prune", "export"),
    modern=modern,
    job=yolo_v4_job,
    evaluation=yolo_v4_evaluation,
    suppression=yolo_v4_suppression,
    keras=yolo_v4_keras,
    pretrained="training_config.pretrain_model_path",
    pruned="training_config.pruned_model_path",
    resumed="training_config.resume_model_path",
    initial_epoch=_initial_epoch,
    differences=(
        "Pictures are letterboxed about the middle of the input in evaluation and inference alike; TAO's inference "
        "puts them into its top left corner.",
        "Of the colour augmentation only exposure counts: grey films have neither hue nor saturation.",
    ),
    digits=5,
    figures_first=True,
    has_labels_file=True,
)
