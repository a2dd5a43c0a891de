"""Whether a model has seen the images that it is tested on: leaks are recognised by content, not by path."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xraycls.data.files import readable_name
from xraycls.data.identity import Identities, identities, known_among, read_identities
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, XrayclsError
from xraycls.training.run_folder import RunFolder
from xraycls.types import Sample
from xraycls.workflows.resume import in_order_of
from xraycls.workflows.run_data import with_splits

logger = logging.getLogger(__name__)

IDENTITIES = "seen.safetensors"
"""The file of a run folder that recognises the images of training and validation."""

_NAMED = 3
_SEEN = ("train", "val")


def write_seen(run: RunFolder, table: SampleTable, identified: Callable[[Sequence[Sample]], Identities]) -> None:
    """Write down what a run is trained and chosen with, unless that was done before.

    Args:
        run: of a classifier.
        table: its samples.
        identified: looks at samples, as :func:`xraycls.data.identity.identities`.
    """
    path = run.path / IDENTITIES
    if not path.is_file():
        identified([s for s in table if s.split in _SEEN]).write(path)


def splits_of_run(run: RunFolder, table: SampleTable) -> SampleTable | None:
    """The table with the splits that the run drew, where it holds the very images and labels of the run's data.

    Names below the root, file sizes and labels tell, so that a data set that was moved or copied is the same.
    """
    before = run.read_environment().dataset
    config = run.read_config()
    labelled = table.labelled()
    with _quiet():
        try:
            drawn = with_splits(labelled, config)
        except XrayclsError:
            return None
    drawn = in_order_of(run, drawn)
    return drawn if drawn.fingerprint() == before else None


def without_seen(run: RunFolder, table: SampleTable, *, unseen_only: bool) -> SampleTable:
    """Warn of the images that the run was trained or chosen with, or leave them out.

    Raises:
        DataError: with ``unseen_only``, where nothing is left.
    """
    known = _known(run, table)
    names = [readable_name(sample.name) for sample, is_known in zip(table, known, strict=True) if is_known]
    if not names:
        return table
    listed = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    if not unseen_only:
        logger.warning(
            "%d of %d images were trained or chosen with, so the figures are too good: %s. "
            "--unseen-only leaves them out.",
            len(names),
            len(table),
            listed,
        )
        return table
    if len(names) == len(table):
        raise DataError(f"All {len(table)} images of {table.root} were trained or chosen with", table.root)
    logger.warning("%d of %d images were trained or chosen with and are left out: %s.", len(names), len(table), listed)
    return table.with_samples(sample for sample, is_known in zip(table, known, strict=True) if not is_known)


def _known(run: RunFolder, table: SampleTable) -> npt.NDArray[np.bool_]:
    """Which images the run has seen, by path or by content: bool [n]."""
    seen = {name for name, split in run.read_samples().items() if split in _SEEN}
    same = np.array([readable_name(table.origin_of(s)) in seen for s in table], np.bool_)
    known = read_identities(run.path / IDENTITIES)
    return same if known is None else same | known_among(identities(table.samples), known)


@contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing of a draw that may not be used."""
    data = logging.getLogger("xraycls.data")
    before = data.level
    data.setLevel(logging.ERROR)
    try:
        yield
    finally:
        data.setLevel(before)


def moved(run: RunFolder, data: Path) -> DataError:
    """The error for a run's own data that isn't where it was."""
    return DataError(
        f"{data}, which {run.path} was trained on, is not there", data, "Say where it lies now with --data"
    )
