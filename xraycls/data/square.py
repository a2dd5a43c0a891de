"""A picture as a prepared store holds it: the whole image, or its middle, squashed to a square."""

from __future__ import annotations

import cv2
import numpy as np

from xraycls.data.image import GreyImage, Image

# Pixels that a JPEG decoded at a reduced scale must leave for one of the picture, across and down, to be still the mean
# of the area that it covers. On radiographs halves differ from it by 0.4 grey levels on average and 0.9 at worst,
# rounding (0.25) included; quarters with two pixels for one would by 0.8 and 1.3.
_PIXELS_FOR_ONE = {1: 0, 2: 2, 4: 4, 8: 4}
# Of other pictures of even sides with so many pixels for one, four become one first: half the work, and to rounding the
# same mean.
_PIXELS_TO_HALVE = 3

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
    scale = 1
    if central_crop is None:
        for_one = min(image.width * image.grid[0], image.height * image.grid[1]) / size
        scale = max(each for each in image.scales if each * _PIXELS_FOR_ONE[each] <= for_one)
    pixels = image.decode(scale)
    if central_crop is not None:  # of the full scale: at another the cut would fall between pixels
        left, top, width, height = central_region(pixels.shape[1], pixels.shape[0], central_crop)
        pixels = pixels[top : top + height, left : left + width]
    height, width = pixels.shape
    if scale == 1 and min(height, width) >= _PIXELS_TO_HALVE * size and height % 2 == width % 2 == 0:
        height, width = height // 2, width // 2
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
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
