"""Formats of annotated pictures, each a module that reads and writes; ``FORMATS`` lists them."""

from __future__ import annotations

from pathlib import Path

from xraycls.data.formats.coco import detect_coco, read_coco, write_coco
from xraycls.data.formats.format import Format
from xraycls.data.formats.kitti import detect_kitti, read_kitti, write_kitti
from xraycls.data.formats.masks import detect_masks, read_masks
from xraycls.data.formats.nih import detect_nih, read_nih, write_nih
from xraycls.data.formats.pairs import LABELS
from xraycls.data.formats.rsna import detect_rsna, read_rsna, write_rsna
from xraycls.data.formats.siim import detect_siim, read_siim, write_siim
from xraycls.data.formats.tfrecords import detect_tfrecords, read_tfrecords
from xraycls.data.formats.voc import detect_voc, read_voc, write_voc
from xraycls.data.formats.yolo import detect_yolo, read_yolo, write_yolo

__all__ = ["FORMATS", "Format", "detect_format"]

# The more telling a format's mark, the earlier it stands: the first that knows a file reads it.
_ALL = (
    Format(
        "rsna",
        "RSNA",
        detect_rsna,
        read_rsna,
        write_rsna,
        pictures="stage_2_train_images",
        folders="none",
        dicom=True,
        classes=True,
    ),
    Format("siim", "SIIM", detect_siim, read_siim, write_siim, pictures="train", folders="none", dicom=True),
    Format("nih", "NIH ChestX-ray14", detect_nih, read_nih, write_nih, folders="none", classes=True),
    Format("tfrecords", "TAO's TFRecords", detect_tfrecords, read_tfrecords, None),
    Format("coco", "COCO", detect_coco, read_coco, write_coco),
    Format("voc", "Pascal VOC", detect_voc, read_voc, write_voc, pictures="JPEGImages", folders="none"),
    Format("yolo", "YOLO", detect_yolo, read_yolo, write_yolo),
    Format("masks", "masks", detect_masks, read_masks, None),
    Format("kitti", "KITTI", detect_kitti, read_kitti, write_kitti, folders="split"),
)

FORMATS: dict[str, Format] = {each.name: each for each in _ALL}


def detect_format(path: Path, images: Path | None = None) -> Format | None:
    """The format of a file or folder; None for what is in no format of these, such as a folder of classes.

    With ``images``, the folder of the pictures, ``path`` may also hold a folder of labels alone.
    """
    places = [path] if images is None else [path, *(path / name for name in LABELS)]
    return next((each for place in places for each in FORMATS.values() if _is(each, place)), None)


def _is(each: Format, path: Path) -> bool:
    try:
        return each.detect(path)
    except OSError:  # a folder that can't be listed; reading it says so
        return False
