"""From any data source to a data set in one of the formats, complete or not at all."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from xraycls.data.csv import read_csv
from xraycls.data.dicom.header import read_header
from xraycls.data.dicom.sniff import is_dicom_file
from xraycls.data.formats import FORMATS
from xraycls.data.formats.format import CLASSES, Format, first_few, without_reversed
from xraycls.data.formats.location import Location, plan_locations, put
from xraycls.data.formats.mapping import MAPPING, with_mapping
from xraycls.data.formats.pictures import names_below_root
from xraycls.data.formats.sharded import merged_picture
from xraycls.data.formats.table import COLUMNS, write_table_csv
from xraycls.data.formats.whole import complete_or_not, require_ours
from xraycls.data.lock import sole_writer_of
from xraycls.data.options import AS_IT_IS, ReadOptions
from xraycls.data.patients import with_patients
from xraycls.data.pictures import list_images
from xraycls.data.processors import available_processors, one_thread_a_picture, pool_size
from xraycls.data.records import header_of
from xraycls.data.shards import Shards
from xraycls.data.source import read_source
from xraycls.data.table import SampleTable
from xraycls.data.verify import Progress, find_unreadable
from xraycls.errors import DataError, UsageError, unknown
from xraycls.types import Sample
from xraycls.version import __version__

logger = logging.getLogger(__name__)

HOW = ("copy", "link", "none")

_WAITING = 8  # pictures at a time, as most of them wait for the disk
_ORIGIN = "source"  # the column of pictures.csv with the name that a picture had

# Every converted data set has a table of its pictures; as a target of its own it needs nothing else.
_TABLE = Format("csv", "CSV", lambda _: False, read_csv, lambda *_: None, dicom=True, classes=True)

# Pictures alone, for programs that know no DICOM; they lie in the folders that they had.
_PNG = Format("png", "PNG", lambda _: False, read_csv, lambda *_: None, pictures="", classes=True, suffix=".png")
_JPEG = replace(_PNG, name="jpeg", title="JPEG", suffix=".jpg")
HEADERS = "headers.csv"
"""What the headers of DICOM files say of pictures without classes, beside these."""

_KNOWN = {**FORMATS, _TABLE.name: _TABLE, _PNG.name: _PNG, _JPEG.name: _JPEG}


@dataclass(frozen=True, slots=True)
class Converted:
    """A data set that was written.

    Attributes:
        target: where it lies.
        format: of it.
        source: the format that was read, as :attr:`SampleTable.source`.
        pictures: how many it has.
        splits: pictures a split; empty where the source has none.
        boxes: how many of each class.
        negatives: pictures without a box.
        decoded: pictures that were written as PNG; the others are the source's files.
        renamed: pictures that have another name than in the source, as their own was taken.
        left_out: name of a picture → why it could not be read.
    """

    target: Path
    format: str
    source: str
    pictures: int
    splits: dict[str, int]
    boxes: dict[str, int]
    negatives: int
    decoded: int
    renamed: int
    left_out: dict[str, str]


def convert(
    source: Path,
    target: Path,
    *,
    to: str,
    read_as: str | None = None,
    images: Path | None = None,
    pictures: str | None = None,
    headers: bool = True,
    overwrite: bool = False,
    merged: Shards | None = None,
    progress: Progress | None = None,
    options: ReadOptions = AS_IT_IS,
) -> Converted:
    """Write a data source as a data set of another format.

    All of it appears at once, when it is complete: until then it grows in a hidden folder beside ``target``. Besides
    the format's own files it holds ``pictures.csv``, which tells of every picture what the format may not: class,
    patient, split, what the header of a DICOM says beside who it shows, and the name that it had. A DICOM file that
    is copied keeps its whole header, names included.

    Args:
        source: anything that :func:`xraycls.data.source.read_source` reads.
        target: a folder, absent or empty; for ``to="csv"`` also a file that ends in ``.csv``.
        to: a name of ``FORMATS``, or "csv".
        read_as: likewise, the format of ``source``; None to tell it from the files.
        images: the folder of the source's pictures, where they don't lie beside its annotations.
        pictures: "copy" them; "link", which needs no space on the same disk; or "none": annotations alone, for the
            pictures where they are. None is "none" for a CSV file and else "copy".
        headers: with "png" and "jpeg", write what the headers of DICOM files say beside who they show: the pseudonym of
            the patient, age, sex, view and pixel spacing; False leaves all of it out.
        overwrite: replace what an earlier conversion wrote.
        merged: shards that have written the pictures already; None writes them.
        progress: told of (pictures done, pictures).
        options: what the user knows better than the source, where its format isn't named.

    Raises:
        UsageError: an unknown name, or arguments that don't go together.
        DataError: the source can't be read or has no boxes to write, or the target holds something else.
        LockedError: another process converts to the target.
        XrayclsError: the target can't be written.
    """
    into = known_format(to, "--to")
    write = into.write
    if write is None:
        raise UsageError(f"--to {to} writes nothing", "Convert to kitti, and that with: xraycls dataset_convert")
    single = into is _TABLE and target.suffix.lower() == ".csv"
    pictures = pictures or ("none" if single else "copy")
    if pictures not in HOW:
        raise unknown("treatment", pictures, HOW, "--pictures")
    if single and pictures != "none":
        raise UsageError(f"--pictures {pictures} needs a folder, but {target} is a file")
    _require_source(source, images)
    if single:
        _require_table(target, overwrite)
    else:
        require_apart(source, target, images)
        require_ours(target, overwrite=overwrite)
    with sole_writer_of(target, "name another target"):
        table, left_out = readable(source, into, read_as, images, options, progress)
        if into.suffix:
            _warn_of_letters(table)
        if single:
            write_table_csv(table, target)
            return _described(table, target, into, left_out)
        table = with_splits(table)
        description: dict[str, Any] = {"xraycls": __version__}
        with complete_or_not(target, description) as folder:
            placed, locations = table, list[Location]()
            if pictures == "none":
                _require_names(table, into)
            else:
                locations = plan_locations(table, into)
                if merged:
                    merged.require([table.name_of(sample) for sample in table])
                where = folder / into.pictures
                made = partial(merged_picture, merged, where) if merged else partial(_put, where, pictures == "link")
                placed, damaged = _put_all(table, locations, where, made, progress)
                left_out |= damaged
            write(placed, folder)
            _write_tables(placed, folder, into, headers)
            converted = _described(placed, target, into, left_out, locations)
            description |= asdict(converted)
        return converted


def known_format(name: str, flag: str) -> Format:
    """Returns the format of a name; raises UsageError with the nearest where there is none."""
    if name.lower() not in _KNOWN:
        raise unknown("format", name, _KNOWN, flag)
    return _KNOWN[name.lower()]


def _require_source(source: Path, images: Path | None) -> None:
    if not source.exists():
        raise DataError(f"There is no file or folder {source}", source)
    if images is not None and not images.is_dir():
        raise DataError(f"The folder of images {images} does not exist", images)


def require_apart(source: Path, target: Path, images: Path | None) -> None:
    """What is read must neither be replaced nor grow by what is written."""
    final = target.resolve()
    for read in filter(None, (source, images)):
        if read.is_dir() and final.parent.is_relative_to(read.resolve()):
            raise DataError(f"{target} lies inside {read}", target, "Name a new folder outside it")
        if read.resolve().is_relative_to(final):
            raise DataError(f"{target} is what is to be converted, or holds it", target, "Name a new folder")


def _require_table(target: Path, overwrite: bool) -> None:
    """Raise DataError for a file that is in the way."""
    if not target.exists():
        return
    if not overwrite:
        raise DataError(f"{target} exists", target, "Replace it with --overwrite, or name another file")
    if not target.is_file() or tuple(header_of(target)[: len(COLUMNS)]) != COLUMNS:
        raise DataError(f"{target} holds something else", target, "Name another file")


def _write_tables(table: SampleTable, folder: Path, into: Format, headers: bool) -> None:
    """Write ``pictures.csv``, or ``headers.csv`` where there are no classes, with or without what headers say."""
    if into.suffix and not headers:
        kept = (tuple(pair for pair in sample.attributes if pair[0] == _ORIGIN) for sample in table)
        table = table.with_samples(
            replace(sample, attributes=origin, patient=None) for sample, origin in zip(table, kept, strict=True)
        )
    if table.classes:
        write_table_csv(table, folder / MAPPING)
    elif headers:
        write_table_csv(table, folder / HEADERS)


def _warn_of_letters(table: SampleTable) -> None:
    """Count the DICOM files that say that text, which may be a name, is part of the picture."""
    marked = [s.path for s in table if s.member is None and is_dicom_file(s.path) and read_header(s.path).burnt_in]
    if marked:
        logger.warning(
            "%d files say that text is burnt into their pixels, where it stays; look whether it is a name: %s",
            len(marked),
            first_few(path.name for path in marked),
        )


def _read(
    source: Path, read_as: str | None, images: Path | None, options: ReadOptions, *, bare: bool = False
) -> SampleTable:
    """The data; ``bare`` takes pictures without a class as well."""
    if read_as is None:
        try:
            return read_source(source, images=images, options=options)
        except DataError:
            if not bare or not source.is_dir():
                raise
            return with_patients(SampleTable(tuple(list_images([source])), (), source, "pictures"))
    return with_patients(with_mapping(known_format(read_as, "--from").read(source, images=images), source))


def readable(
    source: Path,
    into: Format,
    read_as: str | None,
    images: Path | None,
    options: ReadOptions,
    progress: Progress | None = None,
) -> tuple[SampleTable, dict[str, str]]:
    """The pictures of a source that can be read and written in a format, and why not the others."""
    table, left_out = _readable(_read(source, read_as, images, options, bare=into.suffix is not None), progress)
    table = without_reversed(table)
    _require_boxes(table, into)
    return table, left_out


def with_splits(table: SampleTable) -> SampleTable:
    """The table with a split for all pictures or for none, as formats know nothing else."""
    if not table.splits:
        return table
    return table.with_samples(replace(sample, split=sample.split or "train") for sample in table)


def _readable(table: SampleTable, progress: Progress | None) -> tuple[SampleTable, dict[str, str]]:
    """The pictures that can be read, and why not the others."""
    unreadable = find_unreadable(table, progress)
    reasons = [unreadable.get(s.path) or (None if _is_utf8(table.name_of(s)) else "no UTF-8 name") for s in table]
    samples = [sample for sample, reason in zip(table, reasons, strict=True) if not reason]
    left_out = {table.name_of(s): reason for s, reason in zip(table, reasons, strict=True) if reason}
    if not samples:
        raise DataError(f"No picture of {table.root} could be read: {first_few(_reasons(left_out))}", table.root)
    return table.with_samples(samples), left_out


def _is_utf8(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _reasons(left_out: dict[str, str]) -> list[str]:
    return [f"{name} ({reason})" for name, reason in left_out.items()]


def _require_boxes(table: SampleTable, into: Format) -> None:
    """Classes of pictures aren't boxes: raise where there are none to write, and warn where some are missing."""
    if into.classes:
        return
    boxed = {sample.label for sample in table if sample.boxes}
    if not boxed and table.classes != CLASSES:
        raise DataError(
            f"{table.root} has classes but no boxes, and {into.title} is made of boxes", table.root, "Try --to csv"
        )
    lacking = Counter(s.label for s in table if not s.boxes and s.label in boxed)
    for label, count in lacking.items():
        name = "without a class" if label is None else f"of class {table.classes[label]}"
        logger.warning("%d pictures %s have no box and are written as negatives.", count, name)


def _require_names(table: SampleTable, into: Format) -> None:
    """Annotations alone can't be told apart when their pictures differ in folder or suffix only."""
    seen: dict[PurePosixPath, PurePosixPath] = {}
    for name in names_below_root(table):
        key = PurePosixPath(name.stem) if into.folders == "none" else name.with_suffix("")
        first = seen.setdefault(key, name)
        if first != name:
            message = f"{first} and {name} of {table.root} would have the same annotations in {into.title}"
            raise DataError(message, table.root, "With --pictures copy they get names of their own")


def _put_all(
    table: SampleTable,
    locations: list[Location],
    folder: Path,
    made: Callable[[int, Location], Sample | DataError],
    progress: Progress | None,
) -> tuple[SampleTable, dict[str, str]]:
    """The table with its pictures below ``folder``, and why some aren't there."""
    samples, left_out = [], {}
    pool = ThreadPoolExecutor(pool_size(max(available_processors(), _WAITING)))
    try:
        with one_thread_a_picture():
            for done, (location, found) in enumerate(
                zip(locations, pool.map(made, range(len(locations)), locations), strict=True), 1
            ):
                name = table.name_of(location.sample)
                if isinstance(found, DataError):
                    left_out[name] = found.message.removeprefix(f"{location.sample.path} ")
                else:
                    known = tuple(pair for pair in found.attributes if pair[0] != _ORIGIN)
                    samples.append(replace(found, attributes=(*known, (_ORIGIN, name))))
                if progress:
                    progress(done, len(locations))
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, nobody waits for the rest
    if not samples:
        raise DataError(f"No picture of {table.root} could be read: {first_few(_reasons(left_out))}", table.root)
    samples.sort(key=lambda sample: sample.path)
    return replace(table, samples=tuple(samples), root=folder), left_out


def _put(folder: Path, link: bool, _: int, location: Location) -> Sample | DataError:
    try:
        return put(location, folder, link=link)
    except DataError as error:
        return error


def _described(
    table: SampleTable, target: Path, into: Format, left_out: dict[str, str], locations: Sequence[Location] = ()
) -> Converted:
    if left_out:
        message = "%d pictures could not be read and are left out: %s"
        logger.warning(message, len(left_out), first_few(_reasons(left_out)))
    return Converted(
        target=target,
        format=into.name,
        source=table.source,
        pictures=len(table),
        splits={split: len(table.split(split)) for split in table.splits},
        boxes=dict(sorted(Counter(box.label for sample in table for box in sample.boxes).items())),
        negatives=sum(not sample.boxes for sample in table),
        decoded=sum(location.as_png for location in locations),
        renamed=sum(location.is_renamed for location in locations),
        left_out=left_out,
    )
