"""The mapping report: what becomes of each field of a spec."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, get_args

from xraycls.errors import UsageError
from xraycls.tao.fields import HONOURED, Outcome, Support, definitions, holders
from xraycls.tao.mounts import Mounts
from xraycls.tao.networks import NETWORKS
from xraycls.tao.networks.base import TaoNetwork
from xraycls.tao.spec import Spec, value_at

_SECRETS = {"enc_key"}


@dataclass(frozen=True, slots=True)
class FieldReport:
    """What becomes of a field of a spec.

    Attributes:
        field: as the file has it, after the messages that hold it.
        line: of its first value, from 1; None for a field that the file leaves out.
        value: as the file has it, lists and mappings whole; None for a message.
        outcome: whether it has the effect that it has in TAO.
        note: how it is approximated or why it is ignored; may add to what is honoured.
    """

    field: str
    line: int | None
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
    network = network_of(spec)
    modern = network.modern(spec)
    reports = (*_reports(spec, network, modern), *_assumed(modern))
    return reports if mounts is None else tuple(_located(each, mounts) for each in reports)


def network_of(spec: Spec[Any]) -> TaoNetwork:
    """The network that a spec is for."""
    return next(each for each in NETWORKS.values() if each.spec is type(spec.config))


def counted(reports: tuple[FieldReport, ...]) -> str:
    """How many fields have which outcome, in words."""
    counts = Counter(each.outcome for each in reports)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in get_args(Outcome) if counts[outcome])


def headline(spec: Spec[Any], reports: tuple[FieldReport, ...]) -> str:
    """What a spec is, and how many of its fields have which outcome: a sentence."""
    return f"{spec.path}, a spec of {network_of(spec).name} for {' and '.join(spec.dialects)}: {counted(reports)}."


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


def _reports(spec: Spec[Any], network: TaoNetwork, modern: Spec[Any]) -> Iterator[FieldReport]:
    done, whole = set(), set()
    for line, field in _numbered(spec):
        name = modern.here(re.sub(r"\[\d+\]", "", field))
        owner, support = _support(network, name)
        value = value_at(spec.config, field)
        if is_dataclass(value):
            if owner != name:
                continue
            whole.add(owner)
            value = None
        elif field in done or (owner in whole and owner != name) or _holds_messages(network, name):
            continue
        done.add(field)
        value = "(hidden)" if name in _SECRETS else _plain(value)
        yield FieldReport(field, line, value, support.outcome, support.note)


def _support(network: TaoNetwork, field: str) -> tuple[str, Support]:
    """What becomes of a field, and the field that says so: itself, a message that holds it, or "" for none."""
    table = definitions(network.spec)
    owner = next((each for each in holders(field) if table[each].support), "")
    support = table[owner].support or HONOURED if owner else HONOURED
    if not network.is_trained and support.outcome in ("honoured", "approximated"):
        support = Support("not yet", f"xraycls can't train {network.title} yet")
    return owner, support


def _holds_messages(network: TaoNetwork, field: str) -> bool:
    """Whether this is a list of messages, which is told by their fields."""
    return any(name.startswith(f"{field}.") for name in definitions(network.spec))


def _assumed(modern: Spec[Any]) -> Iterator[FieldReport]:
    """What the file leaves out though it must have a value."""
    for field, reason in modern.assumed:
        yield FieldReport(field, None, _plain(value_at(modern.config, field)), "approximated", f"assumed: {reason}")


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


def _numbered(spec: Spec[Any]) -> Iterator[tuple[int, str]]:
    """Line and name of every field, with the numbers of repeated messages; of a mapping, not what is in it."""
    names: dict[tuple[str, ...], str] = {}
    counts: Counter[str] = Counter()
    for token in spec.fields:
        holder = names.get(token.path[:-1], "")
        if holder and isinstance(value_at(spec.config, holder), Mapping):
            continue
        field = f"{holder}.{token.path[-1]}".lstrip(".")
        value = value_at(spec.config, field)
        if isinstance(value, tuple) and value and is_dataclass(value[0]):
            counts[field] += 1
            field = f"{field}[{min(counts[field], len(value)) - 1}]"
        names[token.path] = field
        yield token.line, field


def _plain(value: Any) -> Any:
    """A value for JSON; a float32 in its shortest form."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value
