"""Grey levels of a whole batch, changed by a table a picture: the same numbers on every device."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch


def change_grey_levels(images: torch.Tensor, curves: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Each picture with its own curve applied; on a CPU in place.

    Args:
        images: uint8 [B, 1, S, S].
        curves: uint8 [B, 256], what becomes of every grey level.
    """
    if images.device.type == "cpu":  # OpenCV looks up ten times as fast as torch gathers
        for picture, curve in zip(images.numpy()[:, 0], curves, strict=True):
            cv2.LUT(picture, curve, dst=picture)
        return images
    tables = torch.from_numpy(curves).to(images.device, non_blocking=True)
    return tables.gather(1, images.flatten(1).long()).view_as(images)
