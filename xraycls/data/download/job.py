"""A data set from Kaggle into a folder: fetched, checked, unpacked and written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import is_zipfile

from xraycls.data.download import retry
from xraycls.data.download.catalogue import Source, source_named
from xraycls.data.download.errors import explained
from xraycls.data.download.extract import unpack as unpack_archive
from xraycls.data.download.fetch import fetch
from xraycls.data.download.kaggle import Answer, Kaggle, require_client, sign_in
from xraycls.data.download.members import safe_parts
from xraycls.data.download.partial import Partial, Report
from xraycls.data.download.record import Record
from xraycls.data.download.room import make_writable, require_room
from xraycls.data.lock import sole_writer
from xraycls.errors import DataError, UsageError

Stages = Callable[[str], AbstractContextManager[Report]]
"""Gives a bar for a stage: "downloading", "checking" or "unpacking"; it is told bytes."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What lies in a folder after a download.

    Attributes:
        name: the data set.
        folder: where it lies.
        files: how many files came out of the archive, or were fetched one by one.
        bytes: their size.
        is_new: whether anything had to be done.
        archive: the archive, where it was kept.
        licence: the terms, in words.
        page: Kaggle's page.
        next_command: what to type next; empty when there is nothing unpacked to go on with.
    """

    name: str
    folder: Path
    files: int
    bytes: int
    is_new: bool
    archive: Path | None
    licence: str
    page: str
    next_command: str


def download(
    name: str,
    folder: Path | None = None,
    *,
    files: Sequence[str] = (),
    unpack: bool = True,
    keep_archive: bool = False,
    stages: Stages | None = None,
    patience: retry.Patience | None = None,
) -> Downloaded:
    """Download a data set from Kaggle, or go on with a download that was stopped.

    Args:
        name: coronahack, kermany, rsna or siim.
        folder: where it goes; a folder of that name by default.
        files: only these files of it, as Kaggle lists them, such as ``stage_2_train_labels.csv``.
        unpack: False leaves the archive as it is.
        keep_archive: don't remove the archive after unpacking.
        stages: gives the bars.
        patience: how often to try again, and how long to wait.

    Raises:
        UsageError: no such data set; flags that don't go together.
        MissingExtra: Kaggle's client is not installed.
        XrayclsError: no credentials, or refused ones; rules that were not accepted; no line; disk too small, full or
            read-only; an archive that is damaged or malicious. Each says what to do.
    """
    source = source_named(name)
    if files and (keep_archive or not unpack):
        raise UsageError("--files fetches no archive: leave out --no-unpack and --keep-archive")
    folder = Path(source.name) if folder is None else folder
    record = Record.read(folder, source.reference)
    job = _Job(source, folder, stages or _silent, patience or retry.PATIENCE)
    if files:
        return job.some(record, files)
    return job.whole(record, unpack=unpack, keep_archive=keep_archive or not unpack)


@dataclass
class _Job:
    source: Source
    folder: Path
    stages: Stages
    patience: retry.Patience
    kaggle: Kaggle | None = None

    def whole(self, record: Record, *, unpack: bool, keep_archive: bool) -> Downloaded:
        """The archive, and what is in it."""
        archive = self.folder / f"{self.source.slug}.zip"
        if record.is_unpacked(self.folder):
            if not (keep_archive or record.archive_kept):
                archive.unlink(missing_ok=True)  # of a run that was stopped just before
            return self._result(record, archive)
        is_new = not archive.is_file()
        if is_new:
            left = max(0, self.source.archive_bytes - Partial(archive).size)
            require_room(self.folder, left, self.source.unpacked_bytes if unpack else 0)
        make_writable(self.folder)
        with sole_writer(self.folder, "choose another --dest"):
            if is_new:
                part = self._fetch(archive, None, unpack)
                # Written down before it has its name: an archive without a record is the user's own, and is kept.
                record = replace(record, archive=part.version.total, md5=part.version.md5, archive_kept=True)
                record.write(self.folder)
                part.settle()
            if unpack:
                with self.stages("unpacking") as report:
                    unpacked = unpack_archive(archive, self.folder, report=report)
                keep_archive = keep_archive or record.archive is None
                record = replace(record, unpacked=unpacked, archive_kept=keep_archive)
                record.write(self.folder)
                if not keep_archive:
                    archive.unlink(missing_ok=True)
        return self._result(record, archive, is_new=is_new or unpack)

    def some(self, record: Record, names: Sequence[str]) -> Downloaded:
        """Single files."""
        wanted = ["/".join(safe_parts(name, "--files")) for name in names]
        missing = [name for name in wanted if not record.has_file(self.folder, name)]
        make_writable(self.folder)
        with sole_writer(self.folder, "choose another --dest"):
            for name in missing:
                record = self._single(record, name)
        return Downloaded(
            name=self.source.name,
            folder=self.folder,
            files=len(wanted),
            bytes=sum(record.single[name] for name in wanted),
            is_new=bool(missing),
            archive=None,
            licence=self.source.licence,
            page=self.source.page,
            next_command="",
        )

    def _single(self, record: Record, name: str) -> Record:
        target = self.folder / name
        if target.exists() and not Partial(target).complete:
            raise DataError(
                f"{target} is there already, and was not downloaded by this command",
                target,
                "Move it away, or choose another --dest",
            )
        make_writable(target.parent)
        part = self._fetch(target, name, unpack=False)
        # Kaggle packs large single files, and says so only in the address that it redirects to.
        packed = not name.lower().endswith(".zip") and is_zipfile(part.path)
        if packed:
            with self.stages("unpacking") as report:
                unpack_archive(part.path, target.parent, report=report)
            if not target.is_file():
                raise DataError(f"Kaggle's archive of {name} does not hold that file", part.path)
        record = record.with_file(name, (target if packed else part.path).stat().st_size)
        record.write(self.folder)
        if packed:
            part.discard()
        else:
            part.settle()
        return record

    def _fetch(self, target: Path, file: str | None, unpack: bool) -> Partial:
        require_client()

        def open_at(start: int, tag: str) -> AbstractContextManager[Answer]:
            self.kaggle = sign_in(self.patience.timeout)  # anew: a login is good for hours, 83 GB may take days
            return self.kaggle.open(self.source, file, start=start, tag=tag)

        def room(left: int, total: int) -> None:
            growth = self.source.unpacked_bytes / self.source.archive_bytes if unpack else 0.0
            require_room(self.folder, left, round(total * growth))

        try:
            with self.stages("downloading") as report:
                part = fetch(open_at, target, room=room, report=report, patience=self.patience)
        except retry.Failure as failure:
            origin = self.kaggle.credential.origin if self.kaggle else ""
            raise explained(failure, self.source, file=file, origin=origin) from failure
        with self.stages("checking") as report:
            part.verify(report)
        return part

    def _result(self, record: Record, archive: Path, *, is_new: bool = False) -> Downloaded:
        unpacked = record.unpacked
        return Downloaded(
            name=self.source.name,
            folder=self.folder,
            files=unpacked.files if unpacked else 0,
            bytes=unpacked.bytes if unpacked else archive.stat().st_size,
            is_new=is_new,
            archive=archive if archive.is_file() else None,
            licence=self.source.licence,
            page=self.source.page,
            next_command=self.source.next_command(self.folder) if unpacked else "",
        )


@contextmanager
def _silent(stage: str) -> Iterator[Report]:
    yield lambda done, total: None
