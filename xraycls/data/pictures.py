"""Pictures without labels, to predict: files, and what folders and prepared stores hold.

It is apart from :mod:`xraycls.data.source`, whose formats take longer to import than a prediction takes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from xraycls.data.address import address_of
from xraycls.data.files import name_problem
from xraycls.errors import DataError
from xraycls.types import Sample

logger = logging.getLogger(__name__)


def list_images(paths: Iterable[Path], *, keep_masks: bool = False) -> list[Sample]:
    """Samples without labels to predict: the files as given, and every picture of the folders and prepared stores.

    Files that are missing or damaged are listed too; the error comes when they are opened. Masks, thumbnails and heat
    maps beside radiographs are left out with a message unless ``keep_masks``.

    Raises:
        DataError: no image at all.
    """
    samples = []
    given = [_at_hand(path) for path in paths]
    for path in given:
        found = _images_in(path, keep_masks)
        if not found:
            logger.warning("%s holds no images.", path)
        samples += found
    if not samples:
        raise DataError(f"There are no images in {', '.join(map(str, given)) or 'an empty list'}")
    return samples


def _at_hand(path: Path) -> Path:
    if address_of(path) is None:
        return path
    from xraycls.data.remote import local_copy

    return local_copy(path)


def _images_in(path: Path, keep_masks: bool) -> list[Sample]:
    if name_problem(str(path)) or not path.is_dir():  # what can't be there, opening it says
        return [Sample(path)]
    from xraycls.data.folder import pictures_below
    from xraycls.data.store import is_store, read_store

    if is_store(path):
        return [replace(sample, label=None, findings=()) for sample in read_store(path)]
    return [Sample(file) for file in pictures_below(path, keep_masks=keep_masks)]
