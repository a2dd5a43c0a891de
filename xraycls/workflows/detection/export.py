"""Export a detector as TAO's ``export`` does: one ONNX file with the outputs of TAO's files."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from xraycls.errors import UsageError
from xraycls.export.deepstream import NVINFER, nvinfer_settings, write_nvinfer
from xraycls.export.folder import LABELS, Exported, Source, export_file
from xraycls.inference.load import load_detector_model
from xraycls.models.files import SUFFIXES
from xraycls.tao.mounts import Mounts
from xraycls.tao.networks.base import TaoNetwork
from xraycls.tao.programs import open_spec
from xraycls.workflows.detection.spec import config_of_spec
from xraycls.workflows.export import pictures_for

logger = logging.getLogger(__name__)

_SUFFIX = ".onnx"


def export_for_tao(
    network: TaoNetwork,
    model: Path,
    output: Path | None = None,
    *,
    spec: Path | None = None,
    key: str = "",
    data_type: str = "fp32",
    gen_ds_config: bool = False,
    mounts: Mounts | None = None,
) -> tuple[Exported, list[Path]]:
    """Write a detector with a float input and outputs as TAO's files have them, on operators of ONNX alone.

    Args:
        network: whose verb it is.
        model: the detector's file.
        output: the file to write, whose suffix becomes ``.onnx``; None for the model's name.
        spec: whose suppression and proposals count instead of those of the training.
        key: that the model was saved with; the exported file is not encrypted.
        data_type: "fp32" or "fp16": the number format of an engine, which is chosen when it is built.
        gen_ds_config: whether to write the configuration of DeepStream's nvinfer beside the file.
        mounts: where folders of TAO's container lie here.

    Returns:
        What was written, and the other files.

    Raises:
        UsageError: the output exists, the data type is unknown, or INT8 is asked for.
        SpecError: the spec has a mistake.
        XrayclsError: as :func:`xraycls.workflows.export.export_model`.
    """
    if data_type == "int8":
        raise UsageError("--data_type int8 can't be exported yet", "Choose fp32 or fp16")
    if data_type not in ("fp32", "fp16"):
        raise UsageError(f"Unknown --data_type {data_type!r}", "Choose fp32 or fp16")
    path = _named(model, output)
    described = partial(config_of_spec, spec, network, mounts) if spec else None
    trained = load_detector_model(model, key=key, config=described)
    if spec:
        trained.detector.config = _configured(network, spec, trained.detector.config)
    source = Source(model=trained.detector, recipe=trained.recipe, weights=trained.weights)
    images = pictures_for(trained.recipe, [])
    done = export_file(source, path.parent, images, form="tao", kind="float", name=path.name)
    if data_type == "fp16":
        logger.info("The file holds float32, as TAO's does; fp16 is chosen when its engine is built.")
    if not gen_ds_config:
        return done, []
    text = nvinfer_settings(done.file, labels=LABELS, data_type=data_type)
    return done, [write_nvinfer(path.parent / NVINFER, text), path.parent / LABELS]


def _named(model: Path, output: Path | None) -> Path:
    """The file to write."""
    given = output or model
    path = given.with_suffix(_SUFFIX) if given.suffix in (*SUFFIXES, ".etlt") else given
    path = path if path.suffix == _SUFFIX else path.with_name(path.name + _SUFFIX)
    if output and output.suffix == ".etlt":
        logger.info("An .etlt file can't be written any more; the model goes to %s, which is not encrypted.", path)
    if path.exists():
        raise UsageError(f"{path} exists already", "Remove it, or choose another name with -o")
    return path


def _configured(network: TaoNetwork, spec: Path, config: Any) -> Any:
    """A detector's configuration with what a spec says of predictions."""
    opened = open_spec(spec, network.spec)
    changes: dict[str, Any] = {}
    if network.suppression:
        changes["suppression"] = network.suppression(opened)
    if network.proposals:
        changes["proposals"] = network.proposals(opened, "inference")
    return replace(config, **changes)
