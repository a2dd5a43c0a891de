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
from xraycls.inference.adjust import calibrated_with
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


def without_seen(
    runs: Sequence[RunFolder], table: SampleTable, *, unseen_only: bool, own: bool = False
) -> tuple[SampleTable, npt.NDArray[np.bool_]]:
    """Warn of the images that a model was trained or chosen with, or leave them out.

    Args:
        runs: of the model; those of the members of several.
        table: to test on.
        unseen_only: whether they are left out.
        own: whether the table is a split of the first run, whose images it knows by its splits.

    Returns:
        The table, and which of its images a run has seen, bool [n].

    Raises:
        DataError: with ``unseen_only``, where nothing is left.
    """
    others = runs[1:] if own else runs
    each = dict(zip([run.path for run in others], known_to(others, table), strict=True))
    if own:
        each[runs[0].path] = np.array([sample.split in _SEEN for sample in table], np.bool_)
    known = np.any(list(each.values()), axis=0) if each else np.zeros(len(table), np.bool_)
    by_hand = own and len(runs) == 1  # whoever names another split than the test's knows what it is
    names = [readable_name(sample.name) for sample, is_known in zip(table, known, strict=True) if is_known]
    if not names or by_hand:
        return table, known
    listed = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    by = ""
    if len(runs) > 1:
        by = " by a member (" + ", ".join(f"{path}: {seen.sum():,}" for path, seen in sorted(each.items())) + ")"
    if not unseen_only:
        logger.warning(
            "%d of %d images were trained or chosen with%s, so the figures are too good: %s. "
            "--unseen-only leaves them out.",
            len(names),
            len(table),
            by,
            listed,
        )
        return table, known
    if len(names) == len(table):
        raise DataError(f"All {len(table)} images of {table.root} were trained or chosen with{by}", table.root)
    logger.warning(
        "%d of %d images were trained or chosen with%s and are left out: %s.", len(names), len(table), by, listed
    )
    kept = table.with_samples(sample for sample, is_known in zip(table, known, strict=True) if not is_known)
    return kept, np.zeros(len(kept), np.bool_)


def known_to(
    runs: Sequence[RunFolder], table: SampleTable, splits: Sequence[str] = _SEEN
) -> list[npt.NDArray[np.bool_]]:
    """Which images of a table are in some splits of each run, by path or by content: bool [n].

    Those that the run was calibrated with count as validation.
    """
    files = [file for run in runs for file in (run.path / IDENTITIES, calibrated_with(run.best))]
    found = identities(table.samples) if any(file.is_file() for file in files) else None
    return [_known(run, table, splits, found) for run in runs]


def _known(
    run: RunFolder, table: SampleTable, splits: Sequence[str], found: Identities | None
) -> npt.NDArray[np.bool_]:
    listed = run.read_samples()
    seen = {name for name, split in listed.items() if split in splits}
    same = np.array([readable_name(table.origin_of(s)) in seen for s in table], np.bool_)
    if found is None:
        return same
    if "val" in splits and (calibrated := read_identities(calibrated_with(run.best))) is not None:
        same |= known_among(found, calibrated)
    known = read_identities(run.path / IDENTITIES)
    if known is None:
        return same
    rows = np.array([split in splits for split in listed.values() if split in _SEEN], np.bool_)
    if len(rows) == len(known):  # they were written in one order
        known = Identities(known.digests[rows], known.signatures[rows])
    return same | known_among(found, known)


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
