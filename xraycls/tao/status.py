"""TAO's ``status.json``: a JSON object a line, as its own programs append them to a results folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from xraycls.errors import XrayclsError

Status = Literal["STARTED", "RUNNING", "SUCCESS", "FAILURE", "SKIPPED"]


class StatusLog:
    """The status file of a program.

    Args:
        folder: the results folder, made when missing; None writes nothing.
        append: keep the lines of earlier programs.

    Raises:
        XrayclsError: the folder can't be written.
    """

    def __init__(self, folder: Path | None, *, append: bool = True) -> None:
        self._path = folder / "status.json" if folder else None
        if self._path and not append:
            self._put("", "w")

    def write(self, message: str, status: Status = "RUNNING", figures: Mapping[str, Any] | None = None) -> None:
        """Add a line.

        Args:
            message: for people.
            status: of the program.
            figures: objects named "kpi", "categorical" or "graphical".
        """
        now = datetime.now()
        line = {
            "date": f"{now.month}/{now.day}/{now.year}",
            "time": f"{now.hour}:{now.minute}:{now.second}",
            "status": status,
            "verbosity": "INFO",
            "message": message,
            **(figures or {}),
        }
        self._put(json.dumps(line) + "\n", "a")

    def _put(self, text: str, mode: Literal["a", "w"]) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open(mode, encoding="utf-8") as handle:
                handle.write(text)
        except OSError as error:
            raise XrayclsError(f"{self._path} could not be written: {error.strerror}", "Choose another -r") from error
