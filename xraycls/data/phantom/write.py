"""Writing the phantom to a folder, once, and finding it there again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from xraycls.data.cache import cache_folder
from xraycls.data.files import atomic_write
from xraycls.data.phantom.draw import OPACITY, draw_radiograph
from xraycls.data.phantom.findings import FINDINGS, findings_of
from xraycls.data.phantom.layouts import LAYOUTS, Folder, Layout, Nih, PlacedImage
from xraycls.data.phantom.manifest import DrawnImage, Manifest
from xraycls.data.phantom.plan import CLASSES, PlannedImage, plan
from xraycls.data.processors import available_processors
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError, unknown
from xraycls.types import Box, Sample

PNEUMONIA = FINDINGS[0]
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

    Example:
        >>> import xraycls
        >>> from pathlib import Path
        >>> table = xraycls.phantom_table(Path("phantom"), images=24)
        >>> len(table), table.classes
        (24, ('NORMAL', 'PNEUMONIA'))
    """
    folder = folder or cache_folder() / f"phantom-v{VERSION}-{images}-{seed}"
    return write_phantom(folder, images=images, seed=seed, dicom=dicom, progress=progress)


def write_phantom(
    folder: Path,
    *,
    images: int = 600,
    seed: int = 0,
    size: int = 512,
    layout: str = "folder",
    dicom: bool = False,
    progress: Progress | None = None,
    threads: int | None = None,
    findings: int = 0,
) -> SampleTable:
    """Draw the phantom into a folder: ``train|val|test/NORMAL|PNEUMONIA/p0012_1.jpeg`` and so on.

    Boxes go to ``labels/<split>/`` as KITTI text and DICOM files, on request, to ``dicom/<split>/``. Other layouts
    are those of public data sets, with their tables. An image depends on the seed, its patient's and its own number
    alone, so threads and order don't matter. What an earlier call with the same arguments finished is kept; what is
    missing or cut short is drawn again.

    Args:
        folder: made when missing.
        images: how many, 6 or more.
        seed: 0 or more.
        size: mean width in pixels.
        layout: a name of :data:`~xraycls.data.phantom.layouts.LAYOUTS`.
        dicom: also write DICOM files; of the layout "folder" alone.
        progress: called with (images drawn, images to draw).
        threads: that draw; None for one a core.
        findings: how many kinds of findings are drawn, several an image, 2 to 5; 0 for pneumonia alone. They go with
            the layout "nih", whose tables tell them.

    Returns:
        What was drawn, with all labels, patients and boxes, in the splits that the layout has.

    Raises:
        UsageError: too few images, a negative seed, an unknown layout, or one that ``dicom`` or ``findings`` don't go
            with.
        DataError: the folder holds other pictures.
    """
    planned = plan(images, seed)
    placed = _layout(layout, seed, dicom, findings)
    manifest = Manifest(version=VERSION, layout=layout, seed=seed, images=images, size=size, findings=findings)
    earlier = Manifest.load(folder)
    _refuse_strangers(folder, planned, placed, manifest, earlier)
    if earlier and earlier.same_drawing(manifest):
        manifest = earlier
    missing = [image for image in planned if not _finished(image, placed, manifest, folder)]
    draw = partial(_draw, folder=folder, layout=placed, seed=seed, size=size, findings=findings)
    with ThreadPoolExecutor(threads or min(_MOST_THREADS, available_processors())) as pool:
        for done, (image, drawn) in enumerate(zip(missing, pool.map(draw, missing), strict=True), start=1):
            manifest.drawn[_picture(placed, image)] = drawn
            if progress:
                progress(done, len(missing))
    table = _table(folder, planned, placed, manifest)
    _write_tables(folder, planned, placed, manifest)
    if missing:
        manifest.save(folder)
    return table


def _layout(name: str, seed: int, dicom: bool, findings: int) -> Layout:
    if name not in LAYOUTS:
        raise unknown("layout", name, LAYOUTS, "--layout")
    if findings:
        if name != "nih" or dicom:
            raise UsageError("--findings goes with --layout nih, whose tables tell several", "Add --layout nih")
        if not 2 <= findings <= len(FINDINGS):
            raise UsageError(f"A phantom of {findings} findings can't be drawn", f"Ask for 2 to {len(FINDINGS)}")
        return Nih(seed, findings)
    if not dicom:
        return LAYOUTS[name](seed)
    if name != "folder":
        raise UsageError(f"--dicom does not go with --layout {name}", "That layout has file formats of its own")
    return Folder(seed, dicom=True)


def _picture(layout: Layout, image: PlannedImage) -> str:
    """The path of an image's picture below the folder."""
    return next(iter(layout.files(image)))


def _draw(image: PlannedImage, *, folder: Path, layout: Layout, seed: int, size: int, findings: int) -> DrawnImage:
    """Draw one image and write its files."""
    shown = findings_of(seed, image, findings) if findings else ()
    radiograph = draw_radiograph(
        seed,
        image.patient,
        image.image,
        pneumonia=PNEUMONIA in shown if findings else image.label == 1,
        size=size,
        findings=[name for name in shown if name != PNEUMONIA],
    )
    files = layout.files(image)
    for name, write in files.items():
        write(folder / name, radiograph)
    return DrawnImage(
        patient=image.patient_name,
        boxes=[(box.left, box.top, box.right, box.bottom) for box in radiograph.boxes],
        files={name: (folder / name).stat().st_size for name in files},
        labels=[box.label for box in radiograph.boxes] if findings else [],
    )


def _finished(image: PlannedImage, layout: Layout, manifest: Manifest, folder: Path) -> bool:
    drawn = manifest.drawn.get(_picture(layout, image))
    return drawn is not None and drawn.intact(folder, list(layout.files(image)))


def _refuse_strangers(
    folder: Path, planned: list[PlannedImage], layout: Layout, manifest: Manifest, earlier: Manifest | None
) -> None:
    """Pictures of another drawing would be read as part of this one."""
    if earlier and earlier.layout != manifest.layout:
        message = f"{folder} already holds a phantom in the layout {earlier.layout!r}"
        raise DataError(message, folder, "Choose an empty folder")
    names = [_picture(layout, image) for image in planned]
    own = {folder / name for name in names}
    for top in sorted({name.partition("/")[0] for name in names}):
        for path in sorted((folder / top).rglob("[!.]*")):
            if path.is_file() and path not in own:
                message = f"{folder} already holds {path.name}, which is not of this phantom"
                raise DataError(message, folder, "Choose an empty folder")


def _write_tables(folder: Path, planned: list[PlannedImage], layout: Layout, manifest: Manifest) -> None:
    """Write the tables that aren't there as they should be."""
    images = [PlacedImage(image, _boxes(manifest, _picture(layout, image))) for image in planned]
    for name, text in layout.tables(images).items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != text.encode():
            with atomic_write(path) as temporary:
                temporary.write_bytes(text.encode())


def _boxes(manifest: Manifest, picture: str) -> tuple[Box, ...]:
    drawn = manifest.drawn[picture]
    labels = drawn.labels or [OPACITY] * len(drawn.boxes)
    return tuple(Box(label, *corners) for label, corners in zip(labels, drawn.boxes, strict=True))


def _table(folder: Path, planned: list[PlannedImage], layout: Layout, manifest: Manifest) -> SampleTable:
    samples = [
        Sample(
            path=folder / (name := _picture(layout, image)),
            label=image.label,
            patient=image.patient_name,
            split=layout.split(image),
            boxes=_boxes(manifest, name),
        )
        for image in planned
    ]
    return SampleTable(tuple(sorted(samples, key=lambda sample: sample.path)), CLASSES, folder, "phantom")
