"""Any data source to one table of samples, ready to train on: the way in to the data stage."""

from __future__ import annotations

import difflib
import logging
from pathlib import Path

from xraycls.data.audit import warn_of_faults
from xraycls.data.classes import tell_positive, with_mapped_classes, with_positive
from xraycls.data.csv import read_csv
from xraycls.data.depth import one_depth
from xraycls.data.files import require_regular
from xraycls.data.findings import for_task, with_mapped_findings
from xraycls.data.findings_sets import detect_findings_set
from xraycls.data.folder import read_folder
from xraycls.data.formats import FORMATS, detect_format
from xraycls.data.formats.beside import with_boxes_beside
from xraycls.data.formats.format import CLASSES as BOX_CLASSES
from xraycls.data.formats.mapping import MAPPING, with_mapping
from xraycls.data.formats.whole import is_ours
from xraycls.data.medmnist import read_medmnist
from xraycls.data.options import AS_IT_IS, ReadOptions
from xraycls.data.parquet import is_parquet, read_parquet
from xraycls.data.partial_store import JOURNAL
from xraycls.data.patients import with_patients
from xraycls.data.projections import with_views
from xraycls.data.remote import local_copy
from xraycls.data.split import draw_splits
from xraycls.data.store import is_store, read_store
from xraycls.data.table import SampleTable
from xraycls.data.verify import Progress, drop_unreadable
from xraycls.errors import DataError, UsageError

logger = logging.getLogger(__name__)

_TABLES = (".csv", ".tsv", ".txt")


def load_table(
    path: Path | str | None,
    *,
    images: Path | str | None = None,
    val_fraction: float = 0.15,
    test_fraction: float = 0.15,
    redraw_val: bool = False,
    seed: int = 0,
    strict: bool = False,
    progress: Progress | None = None,
    options: ReadOptions = AS_IT_IS,
) -> SampleTable:
    """A table to train on: every sample can be read, has a label and a split, and every class has training images.

    Args:
        path: an image folder, a CSV, a MedMNIST ``.npz``, Parquet shards, a prepared store or data in one of the
            formats of :data:`xraycls.data.formats.FORMATS`, or its address (:mod:`xraycls.data.remote`); None for the
            phantom.
        images: the folder that a CSV's paths start from, or the pictures of labels that lie elsewhere.
        val_fraction: share of the training images that becomes validation where none is given, 0–1.
        test_fraction: likewise for the test split.
        redraw_val: put a given validation split back into training and draw it anew.
        seed: of the draw.
        strict: raise on files that are missing or damaged instead of leaving them out.
        progress: told how many files were checked.
        options: what the user knows better than the source.

    Raises:
        DataError: the data can't be read, has one class only, or too few patients for a split.
        UsageError: arguments that don't go together.

    Example:
        >>> import xraycls
        >>> table = xraycls.load_table("phantom")
        >>> table.classes, len(table.split("train")), len(table.split("val")), len(table.split("test"))
        (('NORMAL', 'PNEUMONIA'), 12, 5, 7)
    """
    images = None if images is None else local_copy(Path(images), progress=progress)
    path = None if path is None else local_copy(Path(path), alone=images is not None, progress=progress)
    table = load_undrawn(path, images=images, strict=strict, progress=progress, options=options)
    table = draw_splits(table, val_fraction=val_fraction, test_fraction=test_fraction, redraw_val=redraw_val, seed=seed)
    warn_of_faults(table, path)
    return table


def load_undrawn(
    path: Path | None,
    *,
    images: Path | None = None,
    strict: bool = False,
    progress: Progress | None = None,
    options: ReadOptions = AS_IT_IS,
) -> SampleTable:
    """As :func:`load_table`, before any split is drawn."""
    table = read_table(path, images=images, strict=strict, progress=progress, options=options)
    if table.findings:
        return table.labelled()
    tell_positive(table, options)
    _require_classes(table)
    return table


def read_table(
    path: Path | None,
    *,
    images: Path | None = None,
    strict: bool = False,
    progress: Progress | None = None,
    options: ReadOptions = AS_IT_IS,
) -> SampleTable:
    """A table to test or list: as the source gives it, with splits only where the source has them.

    Files that can't be read are left out with a warning, and patients come from file names where the source names
    none. Arguments and errors are those of :func:`load_table`.
    """
    table = read_source(path, images=images, strict=strict, progress=progress, options=options)
    return drop_unreadable(table, strict, progress)


def read_source(
    path: Path | None,
    *,
    images: Path | None = None,
    strict: bool = False,
    progress: Progress | None = None,
    options: ReadOptions = AS_IT_IS,
) -> SampleTable:
    """As :func:`read_table`, but with the files that can't be read: only a CSV's missing ones are left out."""
    images = images and local_copy(images, progress=progress)
    path = path and local_copy(path, alone=images is not None, progress=progress)
    table = with_patients(for_task(_read_source(path, images, strict, progress, options), options))
    if options.views:
        table = with_views(table, options.views)
    table = table.with_samples(one_depth(table.samples, table.root, options.bits))
    if options.class_map:
        table = (with_mapped_findings if table.findings else with_mapped_classes)(table, options.class_map)
    if options.positive and table.findings:
        raise UsageError(
            f"--positive {options.positive} goes with one label an image", "Leave it out, or add --task single"
        )
    return with_positive(table, options.positive) if options.positive else table


def require_source(path: Path, images: Path | None = None) -> None:
    """Raises unless a source is there; nothing is read.

    Raises:
        DataError: there is no such file or folder, or it is neither.
    """
    if not path.exists():
        raise DataError(f"There is no file or folder {path}", path, _nearest(path))
    require_regular(path)
    if images is not None and not images.is_dir():
        raise DataError(f"The folder of images {images} does not exist", images)


def _read_source(
    path: Path | None, images: Path | None, strict: bool, progress: Progress | None, options: ReadOptions
) -> SampleTable:
    if path is None:
        from xraycls.data.phantom import phantom_table

        if images is not None:
            raise UsageError("--images goes with a CSV or with labels of boxes, given as --data")
        return phantom_table(progress=progress)
    require_source(path, images)
    is_prepared = is_store(path) or (path / JOURNAL).exists()
    if not is_prepared and not options.label_separator and (found := detect_format(path, images)):
        return with_mapping(found.read(path, images=images, strict=strict), path)
    suffix = path.suffix.lower()
    if not is_prepared and is_parquet(path):
        return read_parquet(path, options=options)
    if not (options.columns or options.label_separator) and (known := detect_findings_set(path, options)):
        return known.read(path, images=images, strict=strict, options=options)
    if suffix in _TABLES:
        return read_csv(path, images=images, strict=strict, options=options)
    if options.columns or options.fold is not None:
        raise UsageError(f"--path-column and the like, and --fold, go with a CSV, and {path} is none")
    if options.label_separator:
        raise UsageError(f"--label-separator goes with a CSV, and {path} is none")
    if images is not None:
        raise UsageError(f"--images goes with a CSV or with labels of boxes, and {path} is neither")
    if path.is_dir():
        if is_prepared:
            return read_store(path)
        if is_ours(path) and (path / MAPPING).is_file():  # converted to a CSV
            return read_csv(path / MAPPING, strict=strict)
        return with_boxes_beside(read_folder(path, keep_masks=options.keep_masks))
    if suffix == ".npz":
        return read_medmnist(path)
    names = ", ".join(each.title for each in FORMATS.values())
    raise DataError(
        f"{path} is no data source",
        path,
        f"Give a folder of images, a CSV (.csv, .tsv), a MedMNIST archive (.npz) or Parquet, or boxes as {names}",
    )


def _nearest(path: Path) -> str:
    """What there is instead of a path: the name that it resembles, or the first folder that is missing."""
    above = next(parent for parent in path.absolute().parents if parent.is_dir())
    wanted = path.absolute().relative_to(above).parts[0]
    try:
        names = sorted(entry.name for entry in above.iterdir())
    except OSError:
        names = []
    if near := difflib.get_close_matches(wanted, names, n=1):
        return f"Did you mean {above / near[0]}?"
    return f"{above} holds no {wanted}"


def _require_classes(table: SampleTable) -> None:
    present = [name for name, count in table.counts().items() if count]
    if len(present) < 2:
        boxes_alone = "Boxes alone need pictures without any to tell them from"
        folders = "An image folder needs one folder a class, such as NORMAL and PNEUMONIA"
        raise DataError(
            f"{table.root} has one class only ({', '.join(present)}); a classifier needs two or more",
            table.root,
            folders if table.source == "folder" else boxes_alone if table.classes == BOX_CLASSES else None,
        )
