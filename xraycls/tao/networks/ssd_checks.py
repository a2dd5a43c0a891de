"""SSD and DSSD: what a spec must say to be trained. TAO's own checks, and those that TAO leaves to a crash."""

from __future__ import annotations

from dataclasses import replace

from xraycls.tao.checks import (
    check_fields,
    check_given,
    check_limit,
    check_means,
    lower_case_mapping,
)
from xraycls.tao.limits import one_of
from xraycls.tao.networks.ssd_anchors import read_anchors
from xraycls.tao.networks.ssd_spec import LAYERS, AugmentationConfig, SSDConfig, SSDSpec
from xraycls.tao.spec import Spec, value_at

RANGES: dict[str, tuple[float, float]] = {
    "random_crop_{}_scale": (0.3, 1.0),
    "random_crop_{}_ar": (0.5, 2.0),
    "zoom_out_{}_scale": (1.0, 4.0),
}
"""What 0 means in pairs of fields of the augmentation, ``min`` and ``max``."""

SOURCES = ("data_sources", "validation_data_sources")
"""The fields of ``dataset_config`` that name images and their labels: to train on, and to validate with."""

_SCHEDULE = "training_config.learning_rate.soft_start_annealing_schedule"
_FIRST = ("preprocessing", "spatial_augmentation", "color_augmentation")  # TLT 2's augmentation


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
    check_given(spec, "ssd_config", "augmentation_config")
    check_fields(spec, "ssd_config", "training_config", "eval_config", "nms_config", "dataset_config")
    _check_network(spec, network)
    read_anchors(spec, network)
    _check_training(spec)
    _check_augmentation(spec)
    lower_case_mapping(spec, "dataset_config.target_class_mapping")
    for name in SOURCES:
        _check_sources(spec, name)


def check_evaluation(spec: Spec[SSDSpec]) -> None:
    """Raise SpecError for the first thing that keeps a trained SSD from being evaluated."""
    check_given(spec, "eval_config", "dataset_config", "dataset_config.target_class_mapping")
    check_fields(spec, "eval_config.batch_size", "eval_config.matching_iou_threshold", "nms_config")
    lower_case_mapping(spec, "dataset_config.target_class_mapping")
    _check_sources(spec, validation_sources(spec))


def check_suppression(spec: Spec[SSDSpec]) -> None:
    """Raise SpecError for the first thing that keeps ``nms_config`` from being used."""
    check_fields(spec, "nms_config")


def validation_sources(spec: Spec[SSDSpec]) -> str:
    """The field of ``dataset_config`` that leads to the validation images: without one of its own, a fold of TLT 2."""
    dataset = spec.config.dataset_config
    has_fold = not dataset.validation_data_sources and dataset.validation_fold is not None
    return "data_sources" if has_fold else "validation_data_sources"


def _check_network(spec: Spec[SSDSpec], network: SSDConfig) -> None:
    if layers := LAYERS[network.arch]:
        check_limit(spec, "ssd_config.nlayers", one_of(*layers))
    if (network.neg_iou_thresh or 0.5) > (network.pos_iou_thresh or 0.5):
        raise spec.mistake("ssd_config.neg_iou_thresh", "is above pos_iou_thresh", "0 means 0.5 in both")


def _check_training(spec: Spec[SSDSpec]) -> None:
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
    if any(getattr(augmentation, name) is not None for name in _FIRST):
        check_given(spec, "augmentation_config.preprocessing")
        check_fields(spec, *(f"augmentation_config.{name}" for name in _FIRST))
        spatial = augmentation.spatial_augmentation
        if spatial is not None and 0 < spatial.zoom_max < spatial.zoom_min:
            raise spec.mistake("augmentation_config.spatial_augmentation.zoom_min", "is above zoom_max")
        return
    check_fields(spec, "augmentation_config")
    check_means(spec, "augmentation_config.image_mean", "bgr" if augmentation.output_channel == 3 else "l")
    for names in RANGES:
        low, high = range_of(augmentation, names)
        if low > high:
            raise spec.mistake(f"augmentation_config.{names.format('min')}", f"is above {names.format('max')}")


def _check_sources(spec: Spec[SSDSpec], name: str) -> None:
    for number, source in enumerate(value_at(spec.config, f"dataset_config.{name}")):
        field = f"dataset_config.{name}[{number}]"
        if source.tfrecords_path:
            continue
        for part in ("label_directory_path", "image_directory_path"):
            if not getattr(source, part):
                raise spec.mistake(f"{field}.{part}", "is missing", "Give it, or tfrecords_path")
