"""SSD and DSSD of TAO: what their specs mean, as jobs of training and evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from xraycls.loaders.recipes.ssd import SSDRecipe
from xraycls.loaders.recipes.tlt2 import TLT2Recipe
from xraycls.loaders.views import Canvas
from xraycls.tao.checks import lower_case_mapping
from xraycls.tao.common import SoftStartAnnealingScheduleConfig
from xraycls.tao.detectnet import ColorAugmentation, Preprocessing, SpatialAugmentation
from xraycls.tao.mounts import Mounts
from xraycls.tao.networks.base import TaoNetwork
from xraycls.tao.networks.keras_models import ssd_keras
from xraycls.tao.networks.parts import MEANS, box_sources, evaluation_config, suppression_of
from xraycls.tao.networks.ssd_anchors import read_anchors
from xraycls.tao.networks.ssd_checks import (
    SOURCES,
    check_evaluation,
    check_ssd,
    check_suppression,
    plain_network,
    range_of,
    validation_sources,
)
from xraycls.tao.networks.ssd_spec import LAYERS, AugmentationConfig, SSDSpec
from xraycls.tao.spec import Spec
from xraycls.training.annealing import SoftStartAnnealing

if TYPE_CHECKING:
    from xraycls.data.box_sources import BoxData, BoxSource
    from xraycls.models.detection.base import Suppression
    from xraycls.training.config import LoopConfig
    from xraycls.training.job import DetectionJob, EvaluationConfig


def ssd_job(spec: Spec[SSDSpec], mounts: Mounts | None = None) -> DetectionJob:
    """Returns what a spec of SSD or DSSD says, as a job.

    Args:
        spec: of :func:`xraycls.tao.spec.open_spec`.
        mounts: where folders of TAO's container lie here; None for none.

    Raises:
        SpecError: the spec has a value that TAO refuses or can't use, or lacks one; names file, line and field.
    """
    check_ssd(spec)
    from xraycls.models.detection.ssd import SSDConfig as Detector
    from xraycls.models.detection.ssd_loss import SSDLoss
    from xraycls.training.detection import Regularizer
    from xraycls.training.job import DetectionJob

    kind = "dssd" if spec.config.dssd_config else "ssd"
    spec, network = plain_network(spec)
    training = spec.config.training_config
    augmentation = spec.config.augmentation_config
    height, width, channels = _input(augmentation)
    means = tuple((augmentation.image_mean or MEANS)[channel] for channel in ("bgr" if channels == 3 else "l"))
    data = _data(spec, {name: box_sources(spec, name, mounts or Mounts()) for name in SOURCES})
    has_focal = network.focal_loss_alpha or network.focal_loss_gamma
    schedule = training.learning_rate.soft_start_annealing_schedule or SoftStartAnnealingScheduleConfig()
    return DetectionJob(
        detector=Detector(
            network=kind,
            backbone=f"{network.arch}{network.nlayers if LAYERS[network.arch] else ''}",
            classes=data.classes,
            height=height,
            width=width,
            mean=means,
            suppression=suppression_of(spec.config.nms_config),
            anchors=read_anchors(spec, network),
            prediction_channels=network.pred_num_channels,
            loss=SSDLoss(
                positive=network.pos_iou_thresh or 0.5,
                negative=network.neg_iou_thresh or 0.5,
                neg_pos=network.neg_pos_ratio or 3.0,
                box_weight=network.alpha or network.loss_loc_weight or 1.0,
                focal=(network.focal_loss_alpha, network.focal_loss_gamma) if has_focal else None,
            ),
        ),
        data=data,
        recipe=_recipe(spec, Canvas(height, width, round(sum(means) / len(means)))),
        rate=SoftStartAnnealing(
            schedule.min_learning_rate, schedule.max_learning_rate, schedule.soft_start, schedule.annealing
        ),
        loop=_loop(spec.config),
        evaluation=evaluation_config(spec.config.eval_config),
        batch_size=training.batch_size_per_gpu,
        regularizer=Regularizer(training.regularizer.type, training.regularizer.weight),
        freeze_blocks=network.freeze_blocks,
        freeze_bn=network.freeze_bn,
        checkpoint_every=training.checkpoint_interval or 1,
        tensorboard=training.visualizer is not None and training.visualizer.enabled,
        threads=training.n_workers or None,
        qat=training.enable_qat,
    )


def ssd_evaluation(spec: Spec[SSDSpec], mounts: Mounts | None = None) -> tuple[BoxData, EvaluationConfig, Suppression]:
    """Returns what a spec says of evaluating a trained model: validation data, how it is judged, and suppression.

    Nothing else in the spec need be right or there. Arguments and errors are those of :func:`ssd_job`.
    """
    check_evaluation(spec)
    sources = {validation_sources(spec): box_sources(spec, validation_sources(spec), mounts or Mounts())}
    return _data(spec, sources), evaluation_config(spec.config.eval_config), suppression_of(spec.config.nms_config)


def ssd_suppression(spec: Spec[SSDSpec]) -> Suppression:
    """Returns what the ``nms_config`` of a spec says; raises SpecError as :func:`ssd_job`, of that alone."""
    check_suppression(spec)
    return suppression_of(spec.config.nms_config)


def _input(augmentation: AugmentationConfig) -> tuple[int, int, int]:
    """Height, width and channels."""
    if (first := augmentation.preprocessing) is not None:
        return first.output_image_height, first.output_image_width, first.output_image_channel
    return augmentation.output_height, augmentation.output_width, augmentation.output_channel


def _data(spec: Spec[SSDSpec], sources: Mapping[str, tuple[BoxSource, ...]]) -> BoxData:
    from xraycls.data.box_sources import BoxData

    dataset = spec.config.dataset_config
    mapping = lower_case_mapping(spec, "dataset_config.target_class_mapping")
    return BoxData(
        classes=tuple(sorted(set(mapping.values()))),
        mapping=mapping,
        training=sources.get("data_sources", ()),
        validation=sources.get("validation_data_sources", ()),
        validation_fold=dataset.validation_fold,
        image_extension=dataset.image_extension.removeprefix("."),
    )


def _recipe(spec: Spec[SSDSpec], canvas: Canvas) -> SSDRecipe | TLT2Recipe:
    augmentation = spec.config.augmentation_config
    if augmentation.preprocessing is not None:
        return _first_recipe(augmentation, augmentation.preprocessing, replace(canvas, fill=0))
    return SSDRecipe(
        canvas,
        crop_scale=range_of(augmentation, "random_crop_{}_scale"),
        crop_aspect=range_of(augmentation, "random_crop_{}_ar"),
        zoom_out=range_of(augmentation, "zoom_out_{}_scale"),
        flip=augmentation.random_flip,
        brightness=augmentation.brightness,
        contrast=augmentation.contrast,
        rounded=not any(source.tfrecords_path for source in spec.config.dataset_config.data_sources),
    )


def _first_recipe(augmentation: AugmentationConfig, preprocessing: Preprocessing, canvas: Canvas) -> TLT2Recipe:
    """TLT 2's; a spec's zoom above 1 makes the picture smaller, a recipe's makes it larger."""
    spatial = augmentation.spatial_augmentation or SpatialAugmentation()
    color = augmentation.color_augmentation or ColorAugmentation()
    return TLT2Recipe(
        canvas,
        horizontal_flip=spatial.hflip_probability,
        vertical_flip=spatial.vflip_probability,
        zoom=(1 / (spatial.zoom_max or 1.0), 1 / (spatial.zoom_min or 1.0)),
        shift=(spatial.translate_max_x, spatial.translate_max_y),
        contrast=color.contrast_scale_max,
        contrast_center=color.contrast_center,
        color_shift=color.color_shift_stddev,
        smallest=(preprocessing.min_bbox_width, preprocessing.min_bbox_height),
    )


def _loop(config: SSDSpec) -> LoopConfig:
    """Epochs, validation and early stopping; TAO's monitor "loss" is that of training."""
    from xraycls.training.config import LoopConfig

    training, stopping = config.training_config, config.training_config.early_stopping
    monitors = {"loss": "train_loss", "validation_loss": "loss", "val_loss": "loss"}
    return LoopConfig(
        epochs=training.num_epochs,
        seed=config.random_seed,
        validate_every=config.eval_config.validation_period_during_training,
        monitor=monitors[stopping.monitor] if stopping else "mAP",
        higher_is_better=stopping is None,
        patience=stopping.patience if stopping else None,
        min_delta=stopping.min_delta if stopping else 0.0,
    )


SSD = TaoNetwork(
    name="ssd",
    table_name="ssd",  # of DSSD as well
    title="SSD",
    aliases=("dssd",),
    spec=SSDSpec,
    marks=(("ssd", "ssd_config"), ("dssd", "dssd_config")),
    check=check_ssd,
    modern=lambda spec: plain_network(spec)[0],
    job=ssd_job,
    evaluation=ssd_evaluation,
    suppression=ssd_suppression,
    keras=ssd_keras,
    verbs=("train", "evaluate", "inference", "prune", "export"),
)
