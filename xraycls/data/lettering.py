"""Words on pictures, and pictures on disk."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFont

from xraycls.data.files import atomic_write
from xraycls.errors import UsageError

# What Pillow writes of any picture; of other formats it knows, some it only reads, and some take no colour.
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Letters of so many pixels: matplotlib's own DejaVu Sans, which is on every machine and knows most alphabets."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


def fitted(text: str, size: int, width: int) -> str:
    """A line of text, without its middle where it would be wider than so many pixels."""
    text = text.encode(errors="replace").decode()  # names of files needn't be text
    letters = font(size)
    kept, shown = len(text), text
    while kept and letters.getlength(shown) > width:
        kept -= 1
        shown = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return shown


def write_picture(picture: npt.NDArray[np.uint8], path: Path) -> None:
    """Write a picture, uint8 [H, W] or RGB [H, W, 3], atomically; the suffix gives the format (JPEG at quality 92).

    Raises:
        UsageError: the suffix is not that of PNG, JPEG, WebP, TIFF or BMP.
        XrayclsError: the file can't be written.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"Pictures can't be written as {path.suffix or 'a file without suffix'}", "Use .jpg or .png")
    with atomic_write(path) as temporary:
        if path.suffix.lower() == ".png":  # rows as differences to the row above take a third of Pillow's time
            coded = cv2.imencode(".png", picture if picture.ndim == 2 else picture[..., ::-1], _PNG)[1]
            temporary.write_bytes(coded.tobytes())
        else:
            Image.fromarray(picture).save(temporary, quality=92, subsampling=0)
