"""Grey levels of a whole batch, changed by a table a picture: the same numbers on every device."""

from __future__ import annotations

from typing import overload

import cv2
import numpy as np
import numpy.typing as npt
import torch


@overload
def change_grey_levels(images: torch.Tensor, curves: npt.NDArray[np.uint8]) -> torch.Tensor: ...
@overload
def change_grey_levels(images: list[torch.Tensor], curves: npt.NDArray[np.uint8]) -> list[torch.Tensor]: ...
def change_grey_levels(
    images: torch.Tensor | list[torch.Tensor], curves: npt.NDArray[np.uint8]
) -> torch.Tensor | list[torch.Tensor]:
    """Each picture with its own curve applied; on a CPU in place.

    Args:
        images: uint8 [n, 1, H, W], or a list of [1, H, W].
        curves: uint8 [n, 256], what becomes of every grey level.
    """
    if images[0].device.type == "cpu":  # OpenCV looks up ten times as fast as torch gathers
        for picture, curve in zip(images, curves, strict=True):
            levels = picture.numpy()[0]
            cv2.LUT(levels, curve, dst=levels)
        return images
    tables = torch.from_numpy(curves).to(images[0].device, non_blocking=True)
    if isinstance(images, list):
        return [table[picture.long()] for table, picture in zip(tables, images, strict=True)]
    return tables.gather(1, images.flatten(1).long()).view_as(images)
