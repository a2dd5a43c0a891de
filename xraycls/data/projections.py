"""Frontal and lateral views: which projections of a data set are kept."""

from __future__ import annotations

import logging
from collections import Counter

from xraycls.data.records import plain
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.types import Sample

logger = logging.getLogger(__name__)

_COLUMNS = frozenset(map(plain, ("View Position", "Frontal/Lateral", "AP/PA", "Projection", "view", "views")))
_FRONTAL = frozenset(map(plain, ("frontal", "PA", "AP", "AP_horizontal", "AP Supine", "AP Erect", "AP semi erect")))
_LATERAL = frozenset(map(plain, ("lateral", "L", "LL", "LAT", "left lateral", "right lateral")))
_GROUPS = {"frontal": _FRONTAL, "lateral": _LATERAL}


def with_views(table: SampleTable, views: str) -> SampleTable:
    """The images of some projections alone.

    Args:
        table: whose attributes tell the projection of each image, as the columns "View Position" of NIH's table,
            "Frontal/Lateral" and "AP/PA" of CheXpert's, "ViewPosition" of MIMIC's and "Projection" of PadChest's do.
        views: "frontal", "lateral" or projections as the table names them, separated by commas.

    Raises:
        UsageError: no column tells projections.
        DataError: no image is of these.
    """
    wanted = {plain(name) for name in views.split(",") if name.strip()}
    wanted = wanted.union(*(_GROUPS[name] for name in wanted & _GROUPS.keys()))
    seen = [views_of(sample) for sample in table]
    if not any(seen):
        raise UsageError(
            f"--views {views} needs a column of projections, and {table.root} has none",
            'Such a column is called "View Position", "Frontal/Lateral" or "Projection"',
        )
    kept = table.with_samples(s for s, each in zip(table, seen, strict=True) if {plain(v) for v in each} & wanted)
    counted = Counter("/".join(each) or "unknown" for each in seen)
    told = ", ".join(f"{count:,} {name}" for name, count in counted.most_common())
    if not len(kept):
        raise DataError(f"No image of {table.root} is {views}: it has {told}", table.root)
    if left_out := len(table) - len(kept):
        logger.info("--views %s leaves out %d of %d images (%s).", views, left_out, len(table), told)
    return kept


def views_of(sample: Sample) -> tuple[str, ...]:
    """What the columns of projections say of an image, in their order."""
    return tuple(value for name, value in sample.attributes if plain(name) in _COLUMNS)
