"""Stored values of a DICOM file, whatever compressed them.

pydicom decodes uncompressed, deflated and RLE files itself, and JPEG baseline and JPEG 2000 through Pillow. The rest
needs the extra ``dicom``: JPEG lossless, JPEG-LS, JPEG of 12 bits and High-Throughput JPEG 2000.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xraycls.data.dicom.dataset import name_of, value_of
from xraycls.errors import DataError, install_command

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.pixels.decoders.base import Decoder

# GDCM crashes on damaged frames, the whole process with it, and so decodes only what nothing else does.
_PREFERRED = ("pylibjpeg", "pyjpegls", "pillow", "pydicom")
_OURS = ("gdcm", "pylibjpeg")
_JPEG_FAMILY = "1.2.840.10008.1.2.4."
_JPEG_END, _TAIL = b"\xff\xd9", 1024


def _install() -> str:
    return f"Install the codecs with: {install_command('dicom')}"


def stored_values(dataset: Dataset, path: Path) -> npt.NDArray[np.integer]:
    """The values of the one frame, integers [H, W], or [H, W, 3] as RGB.

    Raises:
        DataError: no codec for this compression, or pixels that are cut short or damaged; names the file.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    decoder = decoder_of(dataset, path)
    # Old scanners left the low bits to other things; of them, pydicom doesn't look at the high bit.
    low_bits = (value_of(dataset, "HighBit", int) or 0) - (dataset.BitsStored - 1)
    shifted = not syntax.is_encapsulated and 0 < low_bits <= dataset.BitsAllocated - dataset.BitsStored
    try:
        if syntax.startswith(_JPEG_FAMILY) and frame_of(dataset).rfind(_JPEG_END, -_TAIL) < 0:
            raise ValueError("the frame has no end")  # some codecs would fill the rest with grey
        values = _decoded(dataset, decoder, correct_unused_bits=not shifted)
    except Exception as error:  # codecs raise errors of many kinds on damaged frames
        raise DataError(
            f"The pixels of {path} ({syntax.name}) could not be decoded: they are cut short or damaged",
            path,
            _install() if _is_incomplete(decoder) else None,
        ) from error
    if shifted:
        spare = dataset.BitsAllocated - dataset.BitsStored
        values = (values << (spare - low_bits)) >> spare
    return values


def decoder_of(dataset: Dataset, path: Path) -> Decoder:
    """pydicom's decoder for the compression of a file; raises DataError where there is none."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:  # pydicom's word for a transfer syntax that it has no decoder for
        way = name_of(syntax) or "a transfer syntax that the standard doesn't know"
        raise DataError(f"{path} can't be decoded: it is written in {way}", path) from None
    if not decoder.is_available:
        raise DataError(f"{path} is compressed as {syntax.name}, and no codec for it is installed", path, _install())
    return decoder


def frame_of(dataset: Dataset) -> bytes:
    """The one frame of a compressed file."""
    from pydicom.encaps import get_frame

    return bytes(get_frame(dataset.PixelData, 0, number_of_frames=1))


def _decoded(dataset: Dataset, decoder: Decoder, **options: Any) -> npt.NDArray[np.integer]:
    """What the first codec makes of the frame that can; raises as the last one does."""
    codecs = [name for name in _PREFERRED if name in decoder.available_plugins] or [""]
    for name in codecs[:-1]:
        with suppress(Exception):
            return _decoded_by(name, dataset, decoder, **options)
    return _decoded_by(codecs[-1], dataset, decoder, **options)


def _decoded_by(codec: str, dataset: Dataset, decoder: Decoder, **options: Any) -> npt.NDArray[np.integer]:
    try:
        return np.asarray(decoder.as_array(dataset, index=0, decoding_plugin=codec, **options)[0])
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # a codec in Rust gave up; Python takes that for no Exception
            raise ValueError("the codec gave up") from error
        raise


def _is_incomplete(decoder: Decoder) -> bool:
    """Whether a codec is missing that the extra brings."""
    return any(line.startswith(_OURS) for line in decoder.missing_dependencies)
