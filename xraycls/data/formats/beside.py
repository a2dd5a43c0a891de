"""KITTI labels that lie beside folders of classes: boxes for pictures whose class is known already."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from xraycls.data.formats.format import first_few
from xraycls.data.formats.kitti import is_object, parse_kitti
from xraycls.data.formats.pairs import LABELS, first_lines_below, label_text
from xraycls.data.table import SampleTable
from xraycls.types import Sample

logger = logging.getLogger(__name__)


def with_boxes_beside(table: SampleTable) -> SampleTable:
    """The table of a class folder with the boxes of ``labels`` below its root, where those are KITTI's.

    The labels of ``train/NORMAL/a.jpeg`` are ``labels/train/NORMAL/a.txt``, ``labels/train/a.txt`` or
    ``labels/a.txt``. A file that several pictures would share tells nothing of any; a warning counts those.

    Raises:
        DataError: a line that is no object; names it.
    """
    labels = next((folder for name in LABELS if (folder := table.root / name).is_dir()), None)
    if labels is None or not any(map(is_object, first_lines_below(labels))):
        return table
    shared: dict[Path, list[Sample]] = defaultdict(list)
    for sample in table:
        if file := _file(table, sample, labels):
            shared[file].append(sample)
    ambiguous = [file for file, samples in shared.items() if len(samples) > 1]
    if ambiguous:
        named = first_few(file.relative_to(labels) for file in ambiguous)
        logger.warning("%d files of %s fit several pictures and are left out: %s", len(ambiguous), labels, named)
    unshared = {file: samples[0] for file, samples in shared.items() if len(samples) == 1}
    boxed = {sample.path: _boxed(sample, file) for file, sample in unshared.items()}
    return table.with_samples(boxed.get(sample.path, sample) for sample in table)


def _file(table: SampleTable, sample: Sample, labels: Path) -> Path | None:
    name = Path(table.name_of(sample)).with_suffix(".txt")
    candidates = [labels / name, labels / (sample.split or "") / name.name, labels / name.name]
    return next((file for file in candidates if file.is_file()), None)


def _boxed(sample: Sample, file: Path) -> Sample:
    objects = parse_kitti(label_text(file), file)
    return replace(sample, boxes=tuple(each.box for each in objects if not each.is_ignored))
