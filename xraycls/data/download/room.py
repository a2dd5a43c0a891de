"""Is there enough room on the disk, and may it be written to?"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from xraycls.data.download.errors import unwritable
from xraycls.errors import DataError


def require_room(folder: Path, download: int, unpacked: int = 0) -> None:
    """Refuse what won't fit; the folder needn't exist yet.

    Args:
        folder: where it goes.
        download: bytes still to be downloaded.
        unpacked: bytes that unpacking adds, while the archive is still there.

    Raises:
        DataError: the disk is too small; says what is needed and what there is.
    """
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free, needed = shutil.disk_usage(existing).free, download + unpacked
    if needed <= free:
        return
    parts = [f"{_size(download)} to download"] if download else []
    parts += [f"{_size(unpacked)} to unpack"] if unpacked else []
    what = f"{_size(needed)} are needed ({' and '.join(parts)}), {_size(free)} are free"
    raise DataError(
        f"The disk of {folder} is too small: {what}",
        folder,
        "Free some space, or choose a --dest on another disk",
    )


def make_writable(folder: Path) -> None:
    """Make the folder where it is missing, and find out whether files can be written there.

    Raises:
        DataError: they can't.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # os.access knows nothing of read-only mounts for root
    except OSError as error:
        raise unwritable(error, folder) from None


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
