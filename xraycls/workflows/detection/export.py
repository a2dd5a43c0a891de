"""Export a detector as TAO's ``export`` does: one ONNX file with the outputs of TAO's files."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xraycls.errors import UsageError
from xraycls.export.deepstream import APPLICATION, NVINFER, application_settings, nvinfer_settings, write_text
from xraycls.export.folder import LABELS, Exported, Source, export_file, export_in_8_bits, input_of_frames
from xraycls.export.quantized import quantized_copy, ranges_of, write_ranges
from xraycls.inference.inputs import samples_of
from xraycls.inference.load import load_detector_model
from xraycls.models.files import SUFFIXES
from xraycls.models.quantization import plan_of
from xraycls.tao.mounts import Mounts
from xraycls.tao.networks.base import TaoNetwork
from xraycls.tao.programs import open_spec
from xraycls.workflows.calibration import calibration_pictures
from xraycls.workflows.detection.spec import config_of_spec
from xraycls.workflows.export import pictures_for

logger = logging.getLogger(__name__)

_SUFFIX = ".onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What TAO's flags say of 8 bits.

    Attributes:
        images: folder of the pictures that ranges are chosen on.
        batches: of them; fewer pictures than ``batches`` times ``batch_size`` are an error.
        batch_size: pictures of a batch.
        cache: TensorRT's calibration cache, to write.
        json: a file of ranges, to write; None for none.
        force_ptq: choose ranges anew for a model that was trained with quantisation.
    """

    images: Path | None = None
    batches: int = 10
    batch_size: int = 16
    cache: Path = Path("cal.bin")
    json: Path | None = None
    force_ptq: bool = False

    def export(self, source: Source, path: Path, images: npt.NDArray[np.uint8]) -> tuple[Exported, list[Path]]:
        """Write the file in fp32 and what says how it is computed in 8 bits; returns the former and the other files."""
        trained = bool(plan_of(source.model.net)) and not self.force_ptq
        pictures = None
        if not trained:
            if self.images is None:
                raise UsageError("--data_type int8 needs pictures to choose ranges on", "Give --cal_image_dir FOLDER")
            count = self.batches * self.batch_size
            pictures = calibration_pictures(samples_of(self.images), source.recipe, count, flag="--batches")
        described = {"method": "trained"} if pictures is None else {"method": "entropy", "images": len(pictures)}
        source = replace(source, model=quantized_copy(source.model, pictures))
        names = path.name, path.with_suffix(".int8.onnx").name
        whole, quantized = export_in_8_bits(
            source,
            path.parent,
            images,
            described,
            form="tao",
            kind=input_of_frames(source.model),
            names=names,
        )
        return whole, [quantized.path, *write_ranges(ranges_of(quantized.model), self.cache, self.json)]


def export_for_tao(
    network: TaoNetwork,
    model: Path,
    output: Path | None = None,
    *,
    spec: Path | None = None,
    key: str = "",
    data_type: str = "fp32",
    gen_ds_config: bool = False,
    calibration: Calibration | None = None,
    mounts: Mounts | None = None,
) -> tuple[Exported, list[Path]]:
    """Write a detector with inputs and outputs as TAO's files have them, on operators of ONNX alone.

    The input is float32, of three channels where the network has three means; they are subtracted within.

    Args:
        network: whose verb it is.
        model: the detector's file.
        output: the file to write, whose suffix becomes ``.onnx``; None for the model's name.
        spec: whose suppression and proposals count instead of those of the training.
        key: that the model was saved with; the exported file is not encrypted.
        data_type: "fp32", "fp16" or "int8": the number format of an engine, which is chosen when it is built. For
            "int8" a calibration cache is written for TensorRT up to 10, and beside the file one with the suffix
            ``.int8.onnx``, whose graph says itself what is rounded, for any TensorRT.
        gen_ds_config: whether to write the configuration of DeepStream's nvinfer beside the file.
        calibration: how "int8" gets its ranges; None for the defaults of :class:`Calibration`.
        mounts: where folders of TAO's container lie here.

    Returns:
        What was written, and the other files.

    Raises:
        UsageError: the output or the calibration cache exists, the data type is unknown, or there are too few pictures
            to calibrate with.
        SpecError: the spec has a mistake.
        XrayclsError: as :func:`xraycls.workflows.export.export_model`.
    """
    if data_type not in ("fp32", "fp16", "int8"):
        raise UsageError(f"Unknown --data_type {data_type!r}", "Choose fp32, fp16 or int8")
    calibration, path = calibration or Calibration(), _named(model, output)
    if data_type == "int8" and calibration.cache.exists():
        raise UsageError(
            f"The calibration cache {calibration.cache} exists already", "Remove it, or name another: --cal_cache_file"
        )
    described = partial(config_of_spec, spec, network, mounts) if spec else None
    trained = load_detector_model(model, key=key, config=described)
    if spec:
        trained.detector.config = _configured(network, spec, trained.detector.config)
    source = Source(model=trained.detector, recipe=trained.recipe, weights=trained.weights)
    images = pictures_for(trained.recipe, [])
    files: list[Path] = []
    if data_type == "int8":
        done, files = calibration.export(source, path, images)
    else:
        kind = input_of_frames(source.model)
        done = export_file(source, path.parent, images, form="tao", kind=kind, name=path.name)
    if data_type == "fp16":
        logger.info("The file holds float32, as TAO's does; fp16 is chosen when its engine is built.")
    if not gen_ds_config:
        return done, files
    text = nvinfer_settings(
        done.file, labels=LABELS, data_type=data_type, cache=calibration.cache if data_type == "int8" else None
    )
    application = write_text(path.parent / APPLICATION, application_settings(done.file))
    return done, [*files, write_text(path.parent / NVINFER, text), application, path.parent / LABELS]


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
