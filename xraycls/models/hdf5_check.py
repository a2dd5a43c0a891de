"""Whether HDF5's library comes to an end with a file: in a damaged one it may go round in circles, or crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from xraycls.errors import WeightsError

SECONDS = 120

# All that the library follows from place to place; the arrays themselves are read in one piece.
_WALK = """
import sys
import h5py
def attributes(name, item):
    for each in item.attrs:
        item.attrs[each]
with h5py.File(sys.argv[1], "r") as file:
    attributes("", file)
    file.visititems(attributes)
"""


def require_end(path: Path) -> None:
    """Walk through a file in a process of its own, so that neither a crash nor a circle is ours.

    Raises:
        WeightsError: the walk crashed or took longer than ``SECONDS``.
    """
    command = [sys.executable, "-I", "-c", _WALK, str(path.resolve())]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False).returncode
    except subprocess.TimeoutExpired:
        raise WeightsError(f"{path} is damaged: reading it comes to no end", "Fetch it again") from None
    if ended < 0:  # what it raises in order is told by the reader itself
        raise WeightsError(f"{path} is damaged: HDF5's library crashes when it reads it", "Fetch it again")
