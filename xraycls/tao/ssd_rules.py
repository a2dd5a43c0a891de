"""What a spec of SSD must say to be trained: TAO's own checks, and those that TAO leaves to a crash."""

from __future__ import annotations

from dataclasses import replace

from xraycls.tao.rules import (
    Limit,
    Limits,
    above,
    at_least,
    between,
    check_given,
    check_limits,
    check_means,
    check_regularizer,
    lower_case_mapping,
    one_of,
    value_at,
    within,
)
from xraycls.tao.spec import Spec
from xraycls.tao.ssd import AugmentationConfig, SSDConfig, SSDSpec
from xraycls.tao.ssd_anchors import read_anchors

LAYERS: dict[str, tuple[int, ...]] = {
    "resnet": (10, 18, 34, 50, 101),
    "vgg": (16, 19),
    "darknet": (19, 53),
    "mobilenet_v1": (),
    "mobilenet_v2": (),
    "squeezenet": (),
    "googlenet": (),
    "efficientnet_b0": (),
    "efficientnet_b1": (),
}
"""The backbones of SSD, and the numbers of layers of those that come in several."""

RANGES: dict[str, tuple[float, float]] = {
    "random_crop_{}_scale": (0.3, 1.0),
    "random_crop_{}_ar": (0.5, 2.0),
    "zoom_out_{}_scale": (1.0, 4.0),
}
"""What 0 means in pairs of fields of the augmentation, ``min`` and ``max``."""

SOURCES = ("data_sources", "validation_data_sources")
"""The fields of ``dataset_config`` that name images and their labels: to train on, and to validate with."""

_SCHEDULE = "training_config.learning_rate.soft_start_annealing_schedule"
_GIVEN = (
    "ssd_config",
    "training_config",
    "training_config.learning_rate",
    _SCHEDULE,
    "training_config.regularizer",
    "eval_config",
    "nms_config",
    "augmentation_config",
    "dataset_config",
    "dataset_config.target_class_mapping",
    "dataset_config.data_sources",
)
_SHARE = within(0, 1)
_LIMITS: Limits = (
    ("ssd_config.arch", one_of(*LAYERS)),
    ("ssd_config.pred_num_channels", one_of(0, 256, 512, 1024)),
    ("ssd_config.alpha", at_least(0)),
    ("ssd_config.neg_pos_ratio", at_least(0)),
    ("ssd_config.pos_iou_thresh", _SHARE),
    ("ssd_config.neg_iou_thresh", _SHARE),
    ("ssd_config.loss_loc_weight", at_least(0)),
    ("ssd_config.focal_loss_gamma", at_least(0)),
    ("training_config.batch_size_per_gpu", at_least(1)),
    ("training_config.num_epochs", at_least(1)),
    (f"{_SCHEDULE}.min_learning_rate", above(0)),
    (f"{_SCHEDULE}.max_learning_rate", above(0)),
    (f"{_SCHEDULE}.soft_start", between(0, 1)),
    (f"{_SCHEDULE}.annealing", between(0, 1)),
    ("training_config.early_stopping.monitor", one_of("loss", "validation_loss", "val_loss")),
    ("training_config.early_stopping.min_delta", at_least(0)),
    ("training_config.early_stopping.patience", at_least(1)),
    ("eval_config.validation_period_during_training", at_least(1)),
)
_EVALUATION: Limits = (
    ("eval_config.batch_size", at_least(1)),
    ("eval_config.matching_iou_threshold", between(0, 1)),
)
_SUPPRESSION: Limits = (
    ("nms_config.confidence_threshold", between(0, 1)),
    ("nms_config.clustering_iou_threshold", between(0, 1)),
    ("nms_config.top_k", at_least(1)),
)
_ZOOM_OUT = Limit(lambda value: value == 0 or value >= 1, "be 1 or more")
_AUGMENTATION: Limits = (
    ("augmentation_config.output_width", above(32)),
    ("augmentation_config.output_height", above(32)),
    ("augmentation_config.output_channel", one_of(1, 3)),
    ("augmentation_config.random_crop_min_scale", _SHARE),
    ("augmentation_config.random_crop_max_scale", _SHARE),
    ("augmentation_config.random_crop_min_ar", at_least(0)),
    ("augmentation_config.random_crop_max_ar", at_least(0)),
    ("augmentation_config.zoom_out_min_scale", _ZOOM_OUT),
    ("augmentation_config.zoom_out_max_scale", _ZOOM_OUT),
    ("augmentation_config.brightness", at_least(0)),
    ("augmentation_config.contrast", within(0, 1)),
    ("augmentation_config.random_flip", _SHARE),
)
_SPATIAL = "augmentation_config.spatial_augmentation"
_FIRST_AUGMENTATION: Limits = (
    ("augmentation_config.preprocessing.output_image_width", above(32)),
    ("augmentation_config.preprocessing.output_image_height", above(32)),
    ("augmentation_config.preprocessing.output_image_channel", one_of(1, 3)),
    ("augmentation_config.preprocessing.min_bbox_width", at_least(0)),
    ("augmentation_config.preprocessing.min_bbox_height", at_least(0)),
    (f"{_SPATIAL}.hflip_probability", _SHARE),
    (f"{_SPATIAL}.vflip_probability", _SHARE),
    (f"{_SPATIAL}.zoom_min", at_least(0)),
    (f"{_SPATIAL}.zoom_max", at_least(0)),
    (f"{_SPATIAL}.translate_max_x", at_least(0)),
    (f"{_SPATIAL}.translate_max_y", at_least(0)),
    ("augmentation_config.color_augmentation.color_shift_stddev", at_least(0)),
    ("augmentation_config.color_augmentation.contrast_scale_max", at_least(0)),
    ("augmentation_config.color_augmentation.contrast_center", _SHARE),
)


def plain_network(spec: Spec[SSDSpec]) -> tuple[Spec[SSDSpec], SSDConfig]:
    """The spec with its network as ``ssd_config``, whichever of the two it has, and that network."""
    config = spec.config
    if config.dssd_config is not None:
        config = replace(config, ssd_config=config.dssd_config, dssd_config=None)
        spec = replace(spec, config=config, renamed=(("ssd_config", "dssd_config"),))
    return spec, config.ssd_config or SSDConfig()


def range_of(augmentation: AugmentationConfig, names: str) -> tuple[float, float]:
    """The least and the greatest of a pair of fields, a key of ``RANGES``."""
    low, high = RANGES[names]
    return getattr(augmentation, names.format("min")) or low, getattr(augmentation, names.format("max")) or high


def check_ssd(spec: Spec[SSDSpec]) -> None:
    """Raise SpecError for the first thing that keeps an SSD from being trained."""
    spec, network = plain_network(spec)
    if spec.config.training_config.learning_rate.soft_start_cosine_annealing_schedule is not None:
        field = "training_config.learning_rate.soft_start_cosine_annealing_schedule"
        raise spec.mistake(field, "is not for SSD", f"Give {_SCHEDULE.rpartition('.')[2]}")
    check_given(spec, _GIVEN)
    check_limits(spec, (*_LIMITS, *_EVALUATION, *_SUPPRESSION))
    _check_network(spec, network)
    read_anchors(spec, network)
    _check_training(spec)
    _check_augmentation(spec)
    lower_case_mapping(spec, "dataset_config.target_class_mapping")
    for name in SOURCES:
        _check_sources(spec, name)


def check_evaluation(spec: Spec[SSDSpec]) -> None:
    """Raise SpecError for the first thing that keeps a trained SSD from being evaluated."""
    check_given(spec, ("eval_config", "dataset_config", "dataset_config.target_class_mapping"))
    check_limits(spec, _EVALUATION)
    check_suppression(spec)
    lower_case_mapping(spec, "dataset_config.target_class_mapping")
    _check_sources(spec, validation_sources(spec))


def check_suppression(spec: Spec[SSDSpec]) -> None:
    """Raise SpecError for the first thing that keeps ``nms_config`` from being used."""
    check_given(spec, ("nms_config",))
    check_limits(spec, _SUPPRESSION)


def validation_sources(spec: Spec[SSDSpec]) -> str:
    """The field of ``dataset_config`` that leads to the validation images: without one of its own, a fold of TLT 2."""
    dataset = spec.config.dataset_config
    has_fold = not dataset.validation_data_sources and dataset.validation_fold is not None
    return "data_sources" if has_fold else "validation_data_sources"


def _check_network(spec: Spec[SSDSpec], network: SSDConfig) -> None:
    if layers := LAYERS[network.arch]:
        check_limits(spec, (("ssd_config.nlayers", one_of(*layers)),))
    if (network.neg_iou_thresh or 0.5) > (network.pos_iou_thresh or 0.5):
        raise spec.mistake("ssd_config.neg_iou_thresh", "is above pos_iou_thresh", "0 means 0.5 in both")
    if network.focal_loss_alpha or network.focal_loss_gamma:
        check_limits(spec, (("ssd_config.focal_loss_alpha", between(0, 1)),))


def _check_training(spec: Spec[SSDSpec]) -> None:
    check_regularizer(spec)
    training = spec.config.training_config
    schedule = training.learning_rate.soft_start_annealing_schedule
    if schedule is not None and schedule.soft_start >= schedule.annealing:
        raise spec.mistake(f"{_SCHEDULE}.soft_start", "must end before annealing begins")
    stopping = training.early_stopping
    if stopping is not None and stopping.monitor != "loss":
        field = "training_config.early_stopping.monitor"
        if not spec.config.dataset_config.validation_data_sources:
            raise spec.mistake(field, f"is {stopping.monitor!r}, but there is no validation_data_sources")
        if spec.config.eval_config.validation_period_during_training != 1:
            raise spec.mistake(field, f"is {stopping.monitor!r}, so validation_period_during_training must be 1")


def _check_augmentation(spec: Spec[SSDSpec]) -> None:
    augmentation = spec.config.augmentation_config
    spatial = augmentation.spatial_augmentation
    if (augmentation.preprocessing, spatial, augmentation.color_augmentation) == (None, None, None):
        check_limits(spec, _AUGMENTATION)
        check_means(spec, "augmentation_config.image_mean", "bgr" if augmentation.output_channel == 3 else "l")
        for names in RANGES:
            low, high = range_of(augmentation, names)
            if low > high:
                raise spec.mistake(f"augmentation_config.{names.format('min')}", f"is above {names.format('max')}")
        return
    check_given(spec, ("augmentation_config.preprocessing",))
    check_limits(spec, _FIRST_AUGMENTATION)
    if spatial is not None and 0 < spatial.zoom_max < spatial.zoom_min:
        raise spec.mistake(f"{_SPATIAL}.zoom_min", "is above zoom_max")


def _check_sources(spec: Spec[SSDSpec], name: str) -> None:
    for number, source in enumerate(value_at(spec.config, f"dataset_config.{name}")):
        field = f"dataset_config.{name}[{number}]"
        if source.tfrecords_path:
            continue
        for part in ("label_directory_path", "image_directory_path"):
            if not getattr(source, part):
                raise spec.mistake(f"{field}.{part}", "is missing", "Give it, or tfrecords_path")
