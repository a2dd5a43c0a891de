"""A picture as a prepared store holds it: the whole image, or its middle, squashed to a square."""

from __future__ import annotations

import cv2
import numpy as np

from xraycls.data.image import GreyImage, Image

# A JPEG decoded so small that it leaves fewer isn't the mean of the area any more; with so many it is, on radiographs
# to 0.01 grey levels more than rounding (with two: 0.1, at worst 0.5).
_PIXELS_FOR_ONE = 4

Region = tuple[int, int, int, int]
"""Left, top, width and height, pixels."""


def prepared_picture(image: Image, size: int, central_crop: float | None = None) -> GreyImage:
    """The image squashed to a square without aliasing, uint8 [size, size].

    Each pixel is the mean of the area that it covers; an image smaller than the square is enlarged linearly.

    Args:
        image: any, a stored one too.
        size: side of the picture, pixels.
        central_crop: keep this fraction of width and height, from the middle, cut at whole pixels; None keeps all.

    Raises:
        DataError: the image can't be decoded; names the file.
    """
    if central_crop is None:
        spare = min(image.width * image.grid[0], image.height * image.grid[1]) / (_PIXELS_FOR_ONE * size)
        pixels = image.decode(max((scale for scale in image.scales if scale <= spare), default=1))
    else:  # at full scale: at another the cut would fall between pixels
        pixels = image.decode(1)
        left, top, width, height = central_region(pixels.shape[1], pixels.shape[0], central_crop)
        pixels = pixels[top : top + height, left : left + width]
    height, width = pixels.shape
    # Shrink first, then enlarge: INTER_AREA averages only where neither direction grows.
    shrunk = cv2.resize(pixels, (min(width, size), min(height, size)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def central_region(width: int, height: int, fraction: float | None) -> Region:
    """The middle of an image that keeps a fraction of its width and height, at least a pixel; None keeps all.

    >>> central_region(1000, 500, 0.9)
    (50, 25, 900, 450)
    """
    if fraction is None:
        return 0, 0, width, height
    kept_width, kept_height = (max(round(side * fraction), 1) for side in (width, height))
    return (width - kept_width) // 2, (height - kept_height) // 2, kept_width, kept_height
