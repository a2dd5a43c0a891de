"""The plain files of one phantom radiograph: JPEG, PNG, KITTI boxes."""

from __future__ import annotations

from pathlib import Path

import cv2

from xraycls.data.files import atomic_write
from xraycls.data.formats.kitti import KittiObject, format_kitti
from xraycls.data.phantom.draw import Radiograph

_QUALITY = 90


def encoded_jpeg(radiograph: Radiograph) -> bytes:
    """A grey JPEG of quality 90."""
    _, encoded = cv2.imencode(".jpeg", radiograph.grey(8), (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    return encoded.tobytes()


def write_jpeg(path: Path, radiograph: Radiograph) -> None:
    """A grey JPEG of quality 90."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(encoded_jpeg(radiograph))


def write_png(path: Path, radiograph: Radiograph) -> None:
    """A grey PNG of 8 bits."""
    _, encoded = cv2.imencode(".png", radiograph.grey(8))
    with atomic_write(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def write_kitti(path: Path, radiograph: Radiograph) -> None:
    """A KITTI label file, 15 fields a box of which only the class and the box mean anything; empty for no box."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(format_kitti(map(KittiObject.of, radiograph.boxes)).encode("ascii"))
