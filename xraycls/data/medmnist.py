"""A MedMNIST archive: ``.npz`` with the arrays ``{train,val,test}_{images,labels}`` (Yang et al. 2023)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from numpy.lib.npyio import NpzFile

from xraycls.data.documents import DAMAGED_ARRAY
from xraycls.data.findings import LABELS
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import SPLITS, Sample, Split

# Archives hold numbers; the names of the classes are known for these files, at any of their sizes.
_CLASS_NAMES = {"pneumoniamnist": ("normal", "pneumonia")}
_FINDINGS = {
    "chestmnist": (
        *("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax"),
        *("consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia"),
    )
}

_Array = npt.NDArray[Any]
_lock = threading.Lock()
_arrays: dict[tuple[Path, str], tuple[int, _Array]] = {}


def read_medmnist(path: Path) -> SampleTable:
    """Read a MedMNIST ``.npz`` with its official splits; a split may be absent.

    Images are uint8 [n, H, W] or [n, H, W, 3], labels whole numbers from 0, [n] or [n, 1]; or 0 and 1 for each of
    several findings, [n, F]. Nothing is unpickled.

    Raises:
        DataError: not a readable archive, pickled arrays, missing or misshapen arrays, or counts that differ.
    """
    with _archive(path) as archive:
        present = [split for split in SPLITS if f"{split}_images" in archive or f"{split}_labels" in archive]
        names = ", ".join(archive.files) or "nothing"
        labels = {split: _labels(path, archive, split) for split in present}
    if not sum(len(each) for each in labels.values()):
        raise DataError(f"{path} holds no images; expected train_images, train_labels, … and found {names}", path)
    for split in present:
        _require_images(path, f"{split}_images", len(labels[split]))
    if any(each.ndim == 2 for each in labels.values()):
        return _with_findings(path, labels)
    classes = _classes(path, max(int(each.max()) for each in labels.values() if len(each)) + 1)
    samples = tuple(
        Sample(path, label=int(label), split=split, member=f"{split}_images", row=row)
        for split in present
        for row, label in enumerate(labels[split])
    )
    return SampleTable(samples, classes, path, source="medmnist")


def read_pixels(path: Path, member: str, row: int) -> npt.NDArray[np.uint8]:
    """One image of an archive as grey levels, uint8 [H, W].

    An array is decompressed once and kept, until the file changes. Safe to call from many threads.

    Raises:
        DataError: the archive or the array can't be read.
    """
    pixels = _array(path, member)[row]
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels.copy(), np.uint8)


def _array(path: Path, member: str) -> _Array:
    with _lock:  # held while reading too, so that many threads don't decompress the same array
        try:
            modified = path.stat().st_mtime_ns
        except OSError as error:
            raise DataError(f"{path} could not be read: {error.strerror}", path) from error
        held = _arrays.get((path, member))
        if held is None or held[0] != modified:
            with _archive(path) as archive:
                held = (modified, _member(archive, member))
            _arrays[path, member] = held
        return held[1]


@contextmanager
def _archive(path: Path) -> Iterator[NpzFile]:
    """The open archive; whatever goes wrong while it is open is told as one sentence."""
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, NpzFile):
            raise ValueError("it holds a single array")
        with archive:
            yield archive
    except DAMAGED_ARRAY as error:
        raise DataError(f"{path} is not a readable .npz archive ({_reason(error)})", path) from error


def _reason(error: Exception) -> str:
    if "pickle" in str(error):  # NumPy's own advice here is to allow pickles, which would run code
        return "it holds Python objects, which are never loaded"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error.args[0] if error.args else error) or type(error).__name__


def _member(archive: NpzFile, member: str) -> _Array:
    array = archive[member]
    if not isinstance(array, np.ndarray):  # a file of the archive that isn't .npy comes as bytes
        raise ValueError(f"{member} is not an array")
    return array


def _labels(path: Path, archive: NpzFile, split: str) -> npt.NDArray[np.int64]:
    for member in (f"{split}_images", f"{split}_labels"):
        if member not in archive:
            raise DataError(f"{path} has no array {member}; it has {', '.join(archive.files)}", path)
    labels = _member(archive, f"{split}_labels")
    if labels.ndim == 2 and labels.shape[1] > 1:
        if not np.isin(labels, (0, 1)).all():
            raise DataError(
                f"{split}_labels of {path} has {labels.shape[1]} columns of other numbers than 0 and 1", path
            )
        return labels.astype(np.int64)
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "iub" or (labels.size and labels.min() < 0):
        raise DataError(f"{split}_labels of {path} must hold one whole number from 0 an image", path)
    return labels.reshape(-1).astype(np.int64)


def _with_findings(path: Path, labels: Mapping[Split, npt.NDArray[np.int64]]) -> SampleTable:
    counts = {each.shape[1] if each.ndim == 2 else 1 for each in labels.values()}
    if len(counts) > 1:
        raise DataError(f"The splits of {path} have labels of {' and '.join(map(str, sorted(counts)))} columns", path)
    count = counts.pop()
    names = next((names for name, names in _FINDINGS.items() if path.stem.lower().startswith(name)), ())
    samples = tuple(
        Sample(path, int(row.any()), split=split, member=f"{split}_images", row=number, findings=tuple(map(float, row)))
        for split in SPLITS
        for number, row in enumerate(labels.get(split, ()))
    )
    findings = names if len(names) == count else tuple(str(number) for number in range(count))
    return SampleTable(samples, LABELS, path, source="medmnist", findings=findings)


def _require_images(path: Path, member: str, count: int) -> None:
    images = _array(path, member)
    grey, colour = images.ndim == 3, images.ndim == 4 and images.shape[-1] == 3
    if images.dtype != np.uint8 or not (grey or colour):
        found = f"{images.dtype} {list(images.shape)}"
        raise DataError(f"{member} of {path} is {found}; expected uint8 [n, H, W] or [n, H, W, 3]", path)
    if len(images) != count:
        raise DataError(f"{path} has {len(images):,} images and {count:,} labels in {member.split('_')[0]}", path)


def _classes(path: Path, count: int) -> tuple[str, ...]:
    for name, classes in _CLASS_NAMES.items():
        if path.stem.lower().startswith(name) and count <= len(classes):
            return classes
    return tuple(str(label) for label in range(count))
