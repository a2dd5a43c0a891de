"""The mapping report: what becomes of each field of a spec."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, get_args

from xraycls.errors import UsageError
from xraycls.tao.faster_rcnn import FasterRCNNSpec
from xraycls.tao.faster_rcnn_fates import FASTER_RCNN_FATES
from xraycls.tao.faster_rcnn_modern import modern
from xraycls.tao.fates import Fates, Outcome
from xraycls.tao.mounts import Mounts
from xraycls.tao.rules import value_at
from xraycls.tao.spec import KINDS, Spec
from xraycls.tao.ssd import SSDSpec
from xraycls.tao.ssd_fates import SSD_FATES
from xraycls.tao.ssd_rules import plain_network
from xraycls.tao.yolo_v4 import YOLOv4Spec
from xraycls.tao.yolo_v4_fates import YOLO_V4_FATES

FATES: Mapping[type[Any], Fates] = {
    SSDSpec: SSD_FATES,
    YOLOv4Spec: YOLO_V4_FATES,
    FasterRCNNSpec: FASTER_RCNN_FATES,
}
"""What becomes of the fields of a spec, by its class."""

_SECRETS = {"enc_key"}


@dataclass(frozen=True, slots=True)
class FieldReport:
    """What becomes of a field of a spec.

    Attributes:
        field: as the file has it, after the messages that hold it.
        line: of its first value, from 1.
        value: as the file has it, lists and mappings whole; None for a message.
        outcome: whether it has the effect that it has in TAO.
        note: how it is approximated or why it is ignored; may add to what is honoured.
    """

    field: str
    line: int
    value: Any
    outcome: Outcome
    note: str


def mapping_report(spec: Spec[Any], mounts: Mounts | None = None) -> tuple[FieldReport, ...]:
    """What becomes of each field of a spec of a network, in the order of the file.

    A message that is ignored or approximated as a whole is one entry.

    Args:
        spec: as it was opened.
        mounts: to note where the paths of the data lead on this machine; None to leave that out.

    Raises:
        SpecError: a spec of TLT 2 whose regulariser isn't known.
    """
    reports = tuple(_reports(spec, FATES[type(spec.config)], _renamed(spec)))
    return reports if mounts is None else tuple(_located(each, mounts) for each in reports)


def counted(reports: tuple[FieldReport, ...]) -> str:
    """How many fields have which outcome, in words."""
    counts = Counter(each.outcome for each in reports)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in get_args(Outcome) if counts[outcome])


def headline(spec: Spec[Any], reports: tuple[FieldReport, ...]) -> str:
    """What a spec is, and how many of its fields have which outcome: a sentence."""
    return f"{spec.path}, a spec of {KINDS[type(spec.config)]} for {' and '.join(spec.dialects)}: {counted(reports)}."


def exceptions(reports: tuple[FieldReport, ...]) -> list[str]:
    """The fields that aren't honoured: a line for all of a message that share their outcome and its reason."""
    lines: dict[tuple[Outcome, str, str], list[str]] = {}
    for each in reports:
        if each.outcome != "honoured":
            holder, _, name = each.field.rpartition(".")
            lines.setdefault((each.outcome, holder, each.note), []).append(name)
    return [
        f"{outcome}: {f'{holder}.' if holder else ''}{', '.join(names)} ({note})"
        for (outcome, holder, note), names in sorted(lines.items(), key=lambda line: line[0][0])
    ]


def _reports(spec: Spec[Any], fates: Fates, renamed: Spec[Any]) -> Iterator[FieldReport]:
    told, whole = set(), set()
    for line, field in _numbered(spec):
        written = re.sub(r"\[\d+\]", "", field)
        name = renamed.here(written)
        owner = written if written in fates else next((each for each in _holders(name) if each in fates), "")
        value = value_at(spec.config, field)
        if not owner:  # of a message, or an empty list of such
            continue
        if is_dataclass(value):
            if owner not in (written, name) or fates[owner].outcome == "honoured":
                continue
            whole.add(owner)
            value = None
        elif field in told or (owner in whole and owner != name):
            continue
        told.add(field)
        value = "(hidden)" if written in _SECRETS else _plain(value)
        yield FieldReport(field, line, value, fates[owner].outcome, fates[owner].note)


def _located(report: FieldReport, mounts: Mounts) -> FieldReport:
    """The same, with a note of where the path of a data source leads."""
    is_path = report.field.endswith("_path") and "data_source" in report.field and report.value
    if not is_path or report.outcome == "ignored":
        return report
    try:
        path = mounts.path(report.value)
    except UsageError as error:
        return replace(report, note=error.message)
    is_there = path.exists() or next(glob.iglob(str(path)), None) is not None  # noqa: PTH207 - it may be absolute
    return replace(report, note=str(path) if is_there else f"there is no {path}")


def _renamed(spec: Spec[Any]) -> Spec[Any]:
    """The spec with fields as the tables of fates have them."""
    if isinstance(spec.config, SSDSpec):
        return plain_network(spec)[0]
    return modern(spec) if isinstance(spec.config, FasterRCNNSpec) else spec


def _numbered(spec: Spec[Any]) -> Iterator[tuple[int, str]]:
    """Line and name of every field, with the numbers of repeated messages; of a mapping, not what is in it."""
    names: dict[tuple[str, ...], str] = {}
    counts: Counter[str] = Counter()
    for place in spec.places:
        holder = names.get(place.path[:-1], "")
        if holder and isinstance(value_at(spec.config, holder), Mapping):
            continue
        field = f"{holder}.{place.path[-1]}".lstrip(".")
        value = value_at(spec.config, field)
        if isinstance(value, tuple) and value and is_dataclass(value[0]):
            counts[field] += 1
            field = f"{field}[{min(counts[field], len(value)) - 1}]"
        names[place.path] = field
        yield place.line, field


def _holders(field: str) -> Iterator[str]:
    """A field and all that hold it, the innermost first."""
    while field:
        yield field
        field = field.rpartition(".")[0]


def _plain(value: Any) -> Any:
    """A value for JSON; a float32 in its shortest form."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value
