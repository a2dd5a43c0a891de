"""Writing the phantom to a folder, once, and finding it there again."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from xraycls.data.cache import cache_folder
from xraycls.data.phantom.draw import OPACITY, draw_radiograph
from xraycls.data.phantom.files import write_dicom, write_jpeg, write_kitti
from xraycls.data.phantom.manifest import DrawnImage, Manifest
from xraycls.data.phantom.plan import CLASSES, FileKind, PlannedImage, plan
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import SPLITS, Box, Sample

VERSION = 1  # of the drawing; raise it when pictures change, and every cached phantom is drawn anew
_MOST_THREADS = 16

Progress = Callable[[int, int], None]


def phantom_table(
    folder: Path | None = None,
    *,
    images: int = 600,
    seed: int = 0,
    dicom: bool = False,
    progress: Progress | None = None,
) -> SampleTable:
    """The phantom, drawn on the first call and read back on later ones.

    Args:
        folder: where it lies; None for ``phantom-v<version>-<images>-<seed>`` in the cache folder.
        images: how many, 6 or more.
        seed: 0 or more; another seed draws other patients.
        dicom: also write DICOM files.
        progress: called with (images drawn, images to draw); never when all are there.

    Raises:
        UsageError: too few images or a negative seed.
        DataError: the folder holds other pictures.
    """
    folder = folder or cache_folder() / f"phantom-v{VERSION}-{images}-{seed}"
    return write_phantom(folder, images=images, seed=seed, dicom=dicom, progress=progress)


def write_phantom(
    folder: Path,
    *,
    images: int = 600,
    seed: int = 0,
    size: int = 512,
    dicom: bool = False,
    progress: Progress | None = None,
    threads: int | None = None,
) -> SampleTable:
    """Draw the phantom into a folder: ``train|val|test/NORMAL|PNEUMONIA/p0012_1.jpeg`` and so on.

    Boxes go to ``labels/<split>/`` as KITTI text and DICOM files, on request, to ``dicom/<split>/``. An image
    depends on the seed, its patient's and its own number alone, so threads and order don't matter. What an earlier
    call with the same arguments finished is kept; what is missing or cut short is drawn again.

    Args:
        folder: made when missing.
        images: how many, 6 or more.
        seed: 0 or more.
        size: mean width in pixels.
        dicom: also write DICOM files.
        progress: called with (images drawn, images to draw).
        threads: that draw; None for one a core.

    Raises:
        UsageError: too few images or a negative seed.
        DataError: the folder holds other pictures.
    """
    planned = plan(images, seed)
    _refuse_strangers(folder, planned)
    manifest = Manifest(version=VERSION, seed=seed, images=images, size=size)
    if (earlier := Manifest.load(folder)) and earlier.same_drawing(manifest):
        manifest = earlier
    kinds: list[FileKind] = ["picture", "boxes", "dicom"] if dicom else ["picture", "boxes"]
    missing = [image for image in planned if not _finished(image, manifest, folder, kinds)]
    draw = partial(_draw, folder=folder, seed=seed, size=size, kinds=kinds)
    with ThreadPoolExecutor(threads or min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        for done, (image, drawn) in enumerate(zip(missing, pool.map(draw, missing), strict=True), start=1):
            manifest.drawn[image.file("picture")] = drawn
            if progress:
                progress(done, len(missing))
    if missing:
        manifest.save(folder)
    return _table(folder, planned, manifest)


def _draw(image: PlannedImage, *, folder: Path, seed: int, size: int, kinds: list[FileKind]) -> DrawnImage:
    """Draw one image and write its files."""
    radiograph = draw_radiograph(seed, image.patient, image.image, pneumonia=image.label == 1, size=size)
    paths = {kind: folder / image.file(kind) for kind in kinds}
    write_jpeg(paths["picture"], radiograph)
    write_kitti(paths["boxes"], radiograph.boxes)
    if "dicom" in paths:
        write_dicom(paths["dicom"], radiograph, seed=seed, patient=image.patient_name, image=image.image)
    return DrawnImage(
        patient=image.patient_name,
        boxes=[(box.left, box.top, box.right, box.bottom) for box in radiograph.boxes],
        files={image.file(kind): path.stat().st_size for kind, path in paths.items()},
    )


def _finished(image: PlannedImage, manifest: Manifest, folder: Path, kinds: list[FileKind]) -> bool:
    drawn = manifest.drawn.get(image.file("picture"))
    return drawn is not None and drawn.intact(folder, [image.file(kind) for kind in kinds])


def _refuse_strangers(folder: Path, planned: list[PlannedImage]) -> None:
    """Pictures of another drawing would be read as part of this one."""
    own = {folder / image.file("picture") for image in planned}
    for split in SPLITS:
        for path in sorted((folder / split).rglob("[!.]*")):
            if path.is_file() and path not in own:
                message = f"{folder} already holds {path.name}, which is not of this phantom"
                raise DataError(message, folder, "Choose an empty folder")


def _table(folder: Path, planned: list[PlannedImage], manifest: Manifest) -> SampleTable:
    samples = [
        Sample(
            path=folder / (name := image.file("picture")),
            label=image.label,
            patient=image.patient_name,
            split=image.split,
            boxes=tuple(Box(OPACITY, *corners) for corners in manifest.drawn[name].boxes),
        )
        for image in planned
    ]
    return SampleTable(tuple(sorted(samples, key=lambda sample: sample.path)), CLASSES, folder, "phantom")
