"""The data of a training: read once, also for several trainings on the same pictures, such as those of folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xraycls.data.assign import with_fold
from xraycls.data.audit import warn_of_faults
from xraycls.data.identity import Identities, identities
from xraycls.data.source import load_undrawn
from xraycls.data.split import draw_splits
from xraycls.data.table import SampleTable
from xraycls.loaders.cache import PictureCache, picture_cache
from xraycls.loaders.views import Canvas
from xraycls.training.config import TrainConfig
from xraycls.types import Sample

Progress = Callable[[int, int], None]

_Key = tuple[Path, str | None, int | None]


def with_splits(table: SampleTable, config: TrainConfig) -> SampleTable:
    """The table with the splits of a run: drawn where the data has none, or by the number of its fold."""
    if config.folds is not None:
        return with_fold(table.labelled(), config.folds, config.fold or 0, seed=config.seed)
    return draw_splits(
        table,
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
        redraw_val=config.redraw_val,
        seed=config.seed,
    )


def run_table(config: TrainConfig, progress: Progress | None = None) -> SampleTable:
    """The table of samples that a run trains, validates and tests on."""
    return RunData().table(config, progress)


class RunData:
    """What trainings read of their data, each only once.

    All of them name the same source and read it alike; they may differ in the splits and in all that isn't of the data.
    """

    def __init__(self) -> None:
        self._table: SampleTable | None = None
        self._caches: dict[tuple[str, Canvas], PictureCache | None] = {}
        self._identities: dict[_Key, tuple[npt.NDArray[np.uint8], npt.NDArray[np.int8]]] = {}

    def table(self, config: TrainConfig, progress: Progress | None = None) -> SampleTable:
        """The labelled samples with the splits of a run; files are looked at once.

        Raises:
            XrayclsError: as :func:`xraycls.load_table`.
        """
        is_first = self._table is None
        if self._table is None:
            self._table = load_undrawn(
                config.data,
                images=config.images,
                strict=config.strict,
                progress=progress,
                options=config.read_options,
            )
        table = with_splits(self._table, config)
        if is_first:
            warn_of_faults(table, config.data)
        return table.labelled()

    def cache(self, config: TrainConfig, table: SampleTable, canvas: Canvas) -> PictureCache | None:
        """The cache of decoded pictures that a run asks for; pictures that were kept before are there."""
        key = config.cache, canvas
        if key not in self._caches:
            self._caches[key] = picture_cache(config.cache, table, canvas)
        return self._caches[key]

    def identities(self, samples: Sequence[Sample], progress: Progress | None = None) -> Identities:
        """What tells samples apart, as :func:`xraycls.data.identity.identities`; each is looked at once."""
        unknown = [sample for sample in samples if _key(sample) not in self._identities]
        found = identities(unknown, progress)
        rows = zip(found.digests, found.signatures, strict=True)
        self._identities.update(zip(map(_key, unknown), rows, strict=True))
        known = [self._identities[_key(sample)] for sample in samples]
        if not known:
            return found
        return Identities(np.stack([digest for digest, _ in known]), np.stack([fine for _, fine in known]))


def _key(sample: Sample) -> _Key:
    return sample.path, sample.member, sample.row
