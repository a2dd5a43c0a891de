"""The numbers of classes in records for SSD."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xraycls.data.formats.pairs import label_text
from xraycls.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassNumbers:
    """Classes of an SSD data set.

    Attributes:
        names: in small letters, sorted; the number of a class is its place, from 1.
        ids: the number by label, in small letters.
    """

    names: tuple[str, ...]
    ids: Mapping[str, int]


def class_numbers(mapping: Mapping[str, str], names_file: Path | None) -> ClassNumbers | None:
    """The classes of a spec, or of a file of names; None when neither has any: then records keep class names.

    Args:
        mapping: target_class_mapping of the spec, class by label; it comes first.
        names_file: a name a line.

    Raises:
        DataError: the file can't be read or names no class.
    """
    if mapping:
        if names_file is not None:
            logger.warning("The spec has a target_class_mapping, so the classes of %s are not used.", names_file)
        return _numbered({label.lower(): name.lower() for label, name in mapping.items()})
    if names_file is None:
        return None
    names = {line.strip().lower() for line in label_text(names_file).splitlines()} - {""}
    if not names:
        raise DataError(f"{names_file} names no class", names_file, "Write a class a line")
    return _numbered({name: name for name in names})


def _numbered(classes: Mapping[str, str]) -> ClassNumbers:
    names = tuple(sorted(set(classes.values())))
    return ClassNumbers(names, {label: names.index(name) + 1 for label, name in classes.items()})
