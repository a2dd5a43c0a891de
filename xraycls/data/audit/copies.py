"""The same picture more than once: to the byte, or as a copy that was compressed, scaled, cropped or brightened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from xraycls.data.audit.finding import Evidence, Finding, Group, counted
from xraycls.data.duplicates import duplicates
from xraycls.data.similar import near_duplicates

_ACROSS = (
    "A network that has seen a picture in training knows its answer in the test, so the figures look better than they "
    "are. Keep each picture in one split only."
)
_WITHIN = (
    "They count twice in training and in every figure, and a split that is drawn anew may tear them apart. Keep one of "
    "each."
)
_CONFLICT = "One of the labels is wrong, or the class folders overlap. Look at them and keep the right one."


def check_exact_duplicates(evidence: Evidence) -> Iterator[Finding]:
    """Pictures with the very same content; from digests where the files were read, else from files of equal size."""
    if evidence.decoded:
        groups = _grouped((facts.digest, row) for row, facts in evidence.decoded.items())
    else:
        rows = evidence.readable
        groups = [tuple(rows[i] for i in group) for group in duplicates([evidence.table[row] for row in rows])]
    yield from _sorted_out(evidence, [Group(group) for group in groups], "duplicate", "the very same content")


def check_near_duplicates(evidence: Evidence) -> Iterator[Finding]:
    """Pictures that show the same film, though their files differ."""
    first_of: dict[str, int] = {}
    for row, facts in evidence.decoded.items():
        first_of.setdefault(facts.digest, row)
    rows = list(first_of.values())
    similar = near_duplicates([evidence.decoded[row].thumbnail for row in rows])
    pairs = [(rows[each.first], rows[each.second], each.alike) for each in similar]
    groups = _connected(pairs)
    group_of = {row: group for group in groups for row in group}
    least = {group_of[one]: alike for one, _, alike in pairs}  # the most alike come first, so the last one stays
    noted = [Group(group, f"{least[group]:.3f} alike") for group in groups]
    yield from _sorted_out(evidence, noted, "near-duplicate", "nearly the same content")


def _sorted_out(evidence: Evidence, groups: Sequence[Group], kind: str, what: str) -> Iterator[Finding]:
    """The findings of groups of copies: across splits, within one, and with labels that contradict each other."""
    across = [group for group in groups if len(evidence.splits_of(group.samples)) > 1]
    within = [group for group in groups if len(evidence.splits_of(group.samples)) <= 1]
    conflicting = [group for group in groups if len(_labels(evidence, group.samples)) > 1]
    if across:
        title = f"{_total(across)} with {what} stand in more than one split"
        yield Finding(f"{kind}-across-splits", "error", title, _ACROSS, tuple(across))
    if within:
        yield Finding(kind, "warning", f"{_total(within)} have {what}", _WITHIN, tuple(within))
    if conflicting:
        title = f"{_total(conflicting)} with {what} have different labels"
        yield Finding(f"{kind}-label", "error", title, _CONFLICT, tuple(conflicting))


def _total(groups: Sequence[Group]) -> str:
    return counted(sum(len(group.samples) for group in groups), "picture")


def _labels(evidence: Evidence, rows: Iterable[int]) -> set[int]:
    return {label for row in rows if (label := evidence.table[row].label) is not None}


def _grouped(keyed: Iterable[tuple[str, int]]) -> list[tuple[int, ...]]:
    """Rows of the same key, where there is more than one."""
    groups: dict[str, list[int]] = defaultdict(list)
    for key, row in keyed:
        groups[key].append(row)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _connected(pairs: Iterable[tuple[int, int, float]]) -> list[tuple[int, ...]]:
    """Pairs joined to groups: what is a copy of a copy belongs together."""
    group_of: dict[int, set[int]] = {}
    for one, other, _ in pairs:
        groups = group_of.setdefault(one, {one}), group_of.setdefault(other, {other})
        smaller, larger = sorted(groups, key=len)
        if smaller is not larger:  # the smaller moves, so that time doesn't grow with the square of a group
            larger |= smaller
            group_of.update(dict.fromkeys(smaller, larger))
    unique = {id(group): group for group in group_of.values()}
    return sorted(tuple(sorted(group)) for group in unique.values())
