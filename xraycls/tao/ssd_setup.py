"""From a spec of SSD to the objects that the rest of the package trains and evaluates with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xraycls.errors import UsageError
from xraycls.loaders.recipes.ssd import SSDRecipe
from xraycls.loaders.recipes.tlt2 import TLT2Recipe
from xraycls.loaders.views import Canvas
from xraycls.tao.common import SoftStartAnnealingScheduleConfig
from xraycls.tao.detectnet import ColorAugmentation, Preprocessing, SpatialAugmentation
from xraycls.tao.mounts import Mounts
from xraycls.tao.rules import lower_case_mapping, value_at
from xraycls.tao.spec import Spec
from xraycls.tao.ssd import AugmentationConfig, SSDConfig, SSDSpec
from xraycls.tao.ssd_anchors import read_anchors
from xraycls.tao.ssd_config import Source, SSDData, SSDEvaluation, SSDNetwork, SSDSetup, SSDTraining
from xraycls.tao.ssd_rules import (
    LAYERS,
    SOURCES,
    check_evaluation,
    check_ssd,
    check_suppression,
    plain_network,
    range_of,
    validation_sources,
)
from xraycls.training.annealing import SoftStartAnnealing

if TYPE_CHECKING:
    from xraycls.models.detection.base import Suppression

_MEANS = {"b": 103.939, "g": 116.779, "r": 123.68, "l": 117.3786}


def ssd_setup(spec: Spec[SSDSpec], mounts: Mounts | None = None) -> SSDSetup:
    """What a spec of SSD or DSSD says.

    Args:
        spec: of :func:`xraycls.tao.spec.open_spec`.
        mounts: where folders of TAO's container lie here; None for none.

    Raises:
        SpecError: the spec has a value that TAO refuses or can't use, or lacks one; names file, line and field.
    """
    check_ssd(spec)
    kind: Literal["ssd", "dssd"] = "dssd" if spec.config.dssd_config else "ssd"
    spec, network = plain_network(spec)
    augmentation = spec.config.augmentation_config
    height, width, channels = _input(augmentation)
    means = tuple((augmentation.image_mean or _MEANS)[channel] for channel in ("bgr" if channels == 3 else "l"))
    return SSDSetup(
        dialect=spec.dialect,
        seed=spec.config.random_seed,
        network=SSDNetwork(
            kind=kind,
            arch=network.arch,
            layers=network.nlayers if LAYERS[network.arch] else 0,
            anchors=read_anchors(spec, network),
            height=height,
            width=width,
            means=means,
            prediction_channels=network.pred_num_channels,
            freeze_blocks=network.freeze_blocks,
            freeze_bn=network.freeze_bn,
        ),
        data=_data(spec, {name: _sources(spec, name, mounts or Mounts()) for name in SOURCES}),
        recipe=_recipe(spec, Canvas(height, width, round(sum(means) / len(means)))),
        training=_training(spec, network),
        evaluation=_evaluation(spec.config),
    )


def evaluation_setup(spec: Spec[SSDSpec], mounts: Mounts | None = None) -> tuple[SSDData, SSDEvaluation]:
    """What a spec says of evaluating a trained model: its validation data, and how it is evaluated.

    Nothing else in the spec need be right or there.

    Args:
        spec: of :func:`xraycls.tao.spec.open_spec`.
        mounts: where folders of TAO's container lie here; None for none.

    Raises:
        SpecError: as :func:`ssd_setup`, of those fields.
    """
    check_evaluation(spec)
    sources = {validation_sources(spec): _sources(spec, validation_sources(spec), mounts or Mounts())}
    return _data(spec, sources), _evaluation(spec.config)


def suppression_setup(spec: Spec[SSDSpec]) -> Suppression:
    """What the ``nms_config`` of a spec says; raises SpecError as :func:`ssd_setup`, of that alone."""
    check_suppression(spec)
    return _evaluation(spec.config).suppression()


def _input(augmentation: AugmentationConfig) -> tuple[int, int, int]:
    """Height, width and channels."""
    if (first := augmentation.preprocessing) is not None:
        return first.output_image_height, first.output_image_width, first.output_image_channel
    return augmentation.output_height, augmentation.output_width, augmentation.output_channel


def _data(spec: Spec[SSDSpec], sources: Mapping[str, tuple[Source, ...]]) -> SSDData:
    dataset = spec.config.dataset_config
    mapping = lower_case_mapping(spec, "dataset_config.target_class_mapping")
    return SSDData(
        classes=tuple(sorted(set(mapping.values()))),
        mapping=mapping,
        training=sources.get("data_sources", ()),
        validation=sources.get("validation_data_sources", ()),
        validation_fold=dataset.validation_fold,
        image_extension=dataset.image_extension.removeprefix("."),
    )


def _sources(spec: Spec[SSDSpec], name: str, mounts: Mounts) -> tuple[Source, ...]:
    def path(number: int, part: str) -> Path | None:
        field = f"dataset_config.{name}[{number}].{part}"
        if not (text := value_at(spec.config, field)):
            return None
        try:
            return mounts.path(text)
        except UsageError as error:
            raise spec.mistake(field, f"leads nowhere: {error.message}", error.hint) from error

    found = []
    for number in range(len(value_at(spec.config, f"dataset_config.{name}"))):
        images, records = path(number, "image_directory_path"), path(number, "tfrecords_path")
        found.append(Source(images, None if records else path(number, "label_directory_path"), records))
    return tuple(found)


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


def _training(spec: Spec[SSDSpec], network: SSDConfig) -> SSDTraining:
    training = spec.config.training_config
    schedule = training.learning_rate.soft_start_annealing_schedule or SoftStartAnnealingScheduleConfig()
    stopping = training.early_stopping
    if stopping is not None and stopping.monitor == "val_loss":
        stopping = replace(stopping, monitor="validation_loss")
    has_focal = network.focal_loss_alpha or network.focal_loss_gamma
    return SSDTraining(
        batch_size=training.batch_size_per_gpu,
        epochs=training.num_epochs,
        checkpoint_interval=training.checkpoint_interval or 1,
        learning_rate=SoftStartAnnealing(
            schedule.min_learning_rate, schedule.max_learning_rate, schedule.soft_start, schedule.annealing
        ),
        positive_iou=network.pos_iou_thresh or 0.5,
        negative_iou=network.neg_iou_thresh or 0.5,
        neg_pos=network.neg_pos_ratio or 3.0,
        box_weight=network.alpha or network.loss_loc_weight or 1.0,
        focal=(network.focal_loss_alpha, network.focal_loss_gamma) if has_focal else None,
        regularizer=training.regularizer,
        early_stopping=stopping,
        visualize=training.visualizer is not None and training.visualizer.enabled,
    )


def _evaluation(config: SSDSpec) -> SSDEvaluation:
    evaluation, nms = config.eval_config, config.nms_config
    return SSDEvaluation(
        every=evaluation.validation_period_during_training,
        batch_size=evaluation.batch_size,
        mode="sample" if evaluation.average_precision_mode == "SAMPLE" else "integrate",
        iou=evaluation.matching_iou_threshold,
        curve=evaluation.visualize_pr_curve,
        confidence=nms.confidence_threshold,
        nms_iou=nms.clustering_iou_threshold,
        top_k=nms.top_k,
    )
