"""Faster R-CNN: the files that its specs name, where other networks have flags of the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from xraycls.errors import UsageError
from xraycls.tao.mounts import Mounts
from xraycls.tao.networks.base import InferencePlan
from xraycls.tao.networks.faster_rcnn_checks import check_inference, modern
from xraycls.tao.networks.faster_rcnn_spec import FasterRCNNSpec
from xraycls.tao.spec import Spec, value_at

if TYPE_CHECKING:
    from xraycls.tao.results import Results

_MODELS = (".tlt", ".hdf5")  # suffixes that output_model may have


def faster_rcnn_results(spec: Spec[FasterRCNNSpec], mounts: Mounts | None, folder: Path | None) -> Results:
    """Returns where a training's files go.

    Weights are ``<folder>/frcnn_<arch>.epoch_<N>``. Up to TAO 4 a spec names them by ``output_model``, without the
    epoch; where no folder is given they lie there, and the other files in a folder of that name beside them.

    Raises:
        UsageError: neither a folder nor ``output_model`` is given.
    """
    from xraycls.tao.results import NamedResults

    arch = spec.config.model_config.arch  # as the spec spells it
    spec = modern(spec)
    output = path_in(spec, "training_config.output_model", mounts or Mounts())
    if output is not None:
        named = output.with_suffix("") if output.suffix in _MODELS else output
        stem = (folder or named.parent) / f"{named.name}.epoch"
        return NamedResults(folder or named, "faster_rcnn", backbone_of(arch), stem)
    if folder is None:
        raise UsageError("Nothing says where the results go", "Give a folder with -r, or output_model in the spec")
    return NamedResults(folder, "faster_rcnn", backbone_of(arch), folder / f"frcnn_{arch.replace(':', '_')}.epoch_")


def faster_rcnn_initial_epoch(spec: Spec[FasterRCNNSpec]) -> int:
    """Returns the epoch after that of the model in ``resume_from_model``; 1 where the spec has none.

    Raises:
        SpecError: the name doesn't tell the model's epoch.
    """
    field = "training_config.resume_from_model"
    model = spec.config.training_config.resume_from_model
    if not model:
        return 1
    if (found := re.search(r"\.epoch_?(\d+)(?:\.[^.]*)?$", model)) is None:
        hint = "Name a model that training saved, such as frcnn_resnet_18.epoch_12.hdf5"
        raise spec.mistake(field, "doesn't tell the epoch of its model", hint)
    return int(found[1]) + 1


def faster_rcnn_judged(spec: Spec[FasterRCNNSpec], mounts: Mounts | None) -> Path | None:
    """Returns the model that ``evaluation_config`` names."""
    return path_in(modern(spec), "evaluation_config.model", mounts or Mounts())


def faster_rcnn_inference(spec: Spec[FasterRCNNSpec], mounts: Mounts | None) -> InferencePlan:
    """Returns what ``inference_config`` says; raises SpecError as :func:`faster_rcnn_job`, of that alone."""
    spec = modern(spec)
    check_inference(spec)
    config = spec.config.inference_config
    names = ("model", "images_dir", "detection_image_output_dir", "labels_dump_dir")
    model, images, annotated, labels = (path_in(spec, f"inference_config.{name}", mounts or Mounts()) for name in names)
    return InferencePlan(
        model=model,
        images=images,
        annotated=annotated,
        labels=labels,
        threshold=config.bbox_visualize_threshold,
        batch_size=config.batch_size or 1,
        captions=config.bbox_caption_on,
    )


def backbone_of(arch: str) -> str:
    """Returns our name of a spec's ``arch``: ``resnet:18`` is "resnet18", ``efficientnet:b0`` "efficientnet_b0"."""
    family, _, variant = arch.partition(":")
    return f"{family}_{variant}" if family == "efficientnet" else f"{family}{variant}"


def path_in(spec: Spec[FasterRCNNSpec], field: str, mounts: Mounts) -> Path | None:
    """Returns the path in a field; None for an empty one. Raises SpecError where it has a variable that isn't set."""
    if not (text := value_at(spec.config, field)):
        return None
    try:
        return mounts.path(text)
    except UsageError as error:
        raise spec.mistake(field, f"leads nowhere: {error.message}", error.hint) from error
