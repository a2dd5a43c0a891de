"""Paths of a container on this machine: TAO specs name folders as its container sees them.

Where a folder of the container lies is told by ``--mount /workspace/tlt-experiments=FOLDER`` and by the launcher's own
``.tao_mounts.json`` or ``.tlt_mounts.json`` in the working folder or at home.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from xraycls.data.documents import parse_json
from xraycls.data.files import name_problem
from xraycls.errors import DataError, UsageError, shown

FILES = (".tao_mounts.json", ".tlt_mounts.json")

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


@dataclass(frozen=True)
class Mounts:
    """Which folder of the container is which folder here.

    Attributes:
        folders: the folder here, by that of the container.
        variables: values that ``$NAME`` has in the container; others come from this machine's environment.
    """

    folders: Mapping[PurePosixPath, Path] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    def path(self, text: str) -> Path:
        """Where a path of a spec or a command line lies here: variables expanded, the deepest mount applied.

        Raises:
            UsageError: a variable that isn't set, or a name that no file can have.
        """
        expanded = _container(_VARIABLE.sub(self._variable, text))
        if problem := name_problem(str(expanded)):
            raise UsageError(f"{shown(text, 120)} {problem}")
        for folder in (expanded, *expanded.parents):
            if folder in self.folders:
                return self.folders[folder] / expanded.relative_to(folder)
        return _here(str(expanded))

    def existing(self, text: str, what: str) -> Path:
        """As :meth:`path`, of something that must be there.

        Args:
            text: the path.
            what: it is, for the message: "folder" or "file".

        Raises:
            DataError: there is nothing; says how to map a folder of the container.
            UsageError: a variable that isn't set.
        """
        path = self.path(text)
        if path.exists():
            return path
        asked = _container(text)
        hint = f"Say where it lies here: --mount {PurePosixPath(*asked.parts[:3])}=FOLDER"
        is_unmapped = len(asked.parts) > 2 and path == Path(asked)
        raise DataError(f"There is no {what} {path}", path, hint if is_unmapped else None)

    def _variable(self, match: re.Match[str]) -> str:
        name = match[1] or match[2]
        value = self.variables.get(name, os.environ.get(name))
        if value is None:
            raise UsageError(f"The variable ${name} in {match.string} is not set", f"Set it: export {name}=…")
        return value


def read_mounts(given: Iterable[str] = (), *, folder: Path | None = None, home: Path | None = None) -> Mounts:
    """The mounts of a command: those given come before the working folder's file, and that before the one at home.

    Args:
        given: ``CONTAINER=HERE`` each.
        folder: the working folder.
        home: the user's folder.

    Raises:
        UsageError: a mount without ``=``.
        DataError: a mounts file that can't be read.
    """
    folders: dict[PurePosixPath, Path] = {}
    for mount in given:
        destination, equals, source = mount.partition("=")
        if not (destination and equals and source):
            raise UsageError(f"--mount {mount} is no mount", "Write --mount /workspace/tlt-experiments=FOLDER")
        folders[_container(destination)] = _here(source)
    variables: dict[str, str] = {}
    for place in (folder or Path(), home or Path.home()):
        for file in (place / name for name in FILES):
            if file.is_file():
                mounted, named = _read(file)
                folders, variables = mounted | folders, named | variables
    return Mounts(folders, variables)


def _container(text: str) -> PurePosixPath:
    """A path of the container; of slashes at its beginning one counts, which POSIX leaves open for two."""
    return PurePosixPath(f"/{text.lstrip('/')}" if text.startswith("/") else text)


def _here(text: str) -> Path:
    """A path of this machine, with ``~`` for the user's own folder; ``~name`` is a name like any other."""
    path = Path(text)
    return path.expanduser() if path.parts[:1] == ("~",) else path


def _read(file: Path) -> tuple[dict[PurePosixPath, Path], dict[str, str]]:
    try:
        content: Any = parse_json(file.read_text(encoding="utf-8-sig"))
        mounts = {_container(m["destination"]): _here(m["source"]) for m in content.get("Mounts", [])}
        return mounts, {str(v["variable"]): str(v["value"]) for v in content.get("Envs", [])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{file} is no mounts file of TAO's launcher",
            file,
            'It needs {"Mounts": [{"source": "/here", "destination": "/workspace/tao-experiments"}]}',
        ) from error
