"""Several classifiers as one, on disk: which they are, how much each counts, and from where their mean is called."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xraycls.data.documents import read_json_object
from xraycls.data.files import atomic_write
from xraycls.errors import RunError

ENSEMBLE = "ensemble.json"
"""The file of a folder that stands for several classifiers."""

FORMAT = 1


@dataclass(frozen=True, slots=True)
class EnsembleFile:
    """What ``ensemble.json`` tells.

    Attributes:
        members: their run folders or files; relative ones start from the folder of the file.
        shares: how much each counts, not negative, with the sum 1.
        threshold: of two classes, from which the mean is called; None for the mean of the members' own.
        thresholds: of findings, by name; those that it lacks are the means of the members' own.
        chosen: how the shares came about, in words.
    """

    members: tuple[str, ...]
    shares: tuple[float, ...]
    threshold: float | None = None
    thresholds: Mapping[str, float] | None = None
    chosen: str = "equal"

    def write(self, folder: Path) -> Path:
        """Write it into a folder, atomically, with members below the folder as relative paths; returns the file."""
        from xraycls.data.plain import to_plain

        root = folder.resolve()
        named = [_below(Path(member).resolve(), root) for member in self.members]
        path = folder / ENSEMBLE
        with atomic_write(path) as temporary:
            content = {"format": FORMAT, **to_plain(self), "members": named}
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return path


def is_ensemble(name: str | Path) -> bool:
    """Whether a model's name means a folder that stands for several classifiers."""
    return (Path(name) / ENSEMBLE).is_file()


def read_ensemble(folder: Path) -> EnsembleFile:
    """Returns what the file of a folder tells, with paths that can be opened from here.

    Raises:
        RunError: it is damaged or of a newer version.
    """
    from xraycls.data.plain import from_plain

    path = folder / ENSEMBLE
    try:
        values = read_json_object(path)
        if values.pop("format") > FORMAT:
            raise RunError(f"{path} was written by a newer xraycls", "Take the checkout of a newer version")
        found = from_plain(EnsembleFile, values)
        whole = abs(sum(found.shares) - 1) < 1e-4 and min(found.shares) >= 0
        if len(found.members) < 2 or len(found.shares) != len(found.members) or not whole:
            raise ValueError("shares: they must be as many as the members, 0 or more, and 1 together")
    except (OSError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise RunError(
            f"{path} is damaged ({error})", "Write it again with: xraycls ensemble RUN1 RUN2 … -o FOLDER"
        ) from error
    members = tuple(os.path.normpath(folder / member) for member in found.members)
    return EnsembleFile(members, found.shares, found.threshold, found.thresholds, found.chosen)


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
