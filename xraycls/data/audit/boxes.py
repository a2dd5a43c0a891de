"""Boxes that can't be right."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from xraycls.data.audit.finding import Evidence, Finding, Group, Severity, counted
from xraycls.data.headers import PictureHeader
from xraycls.data.records import plain
from xraycls.errors import unknown
from xraycls.types import Box

_ROUNDING = 1.0  # pixels that a box may reach beyond the picture
_SAME = 0.5  # pixels
_IGNORED = "dontcare"  # KITTI's regions that nobody labelled
_NEGATIVE = frozenset(
    {"0", "negative", "normal", "nofinding", "nofindings", "healthy", "none", "nolungopacity", "notnormal"}
    | {"nolungopacitynotnormal", "negativeforpneumonia"}
)
_MANY, _FEW = 1000, 2  # boxes in all, and of a class that is more likely a slip


def check_boxes(evidence: Evidence, classes: Sequence[str] | None = None) -> Iterator[Finding]:
    """Boxes outside of their picture, without an area, of unknown classes, drawn twice, or where there is nothing.

    Args:
        evidence: the data set.
        classes: of boxes; None for any.
    """
    boxes = [
        (row, header, box)
        for row in evidence.readable
        if (header := evidence.headers[row]) is not None
        for box in evidence.table[row].boxes
        if plain(box.label) != _IGNORED
    ]
    yield from _outside(boxes)
    yield from _empty(boxes)
    yield from _unknown(boxes, classes) if classes else _slips(boxes)
    yield from _repeated(boxes)
    yield from _on_negatives(evidence, boxes)


_Boxes = Sequence[tuple[int, PictureHeader, Box]]


def _outside(boxes: _Boxes) -> Iterator[Finding]:
    found = [
        (row, f"{_corners(box)} in {header.width} × {header.height}")
        for row, header, box in boxes
        if _has_area(box)
        and not (
            min(box.left, box.top) >= -_ROUNDING
            and box.right <= header.width + _ROUNDING
            and box.bottom <= header.height + _ROUNDING
        )
    ]
    yield from _finding(
        "box-outside",
        found,
        "Boxes reach beyond their picture",
        "Often they belong to a picture of another size, or x and y are exchanged. Scale them with their pictures "
        "(xraycls data convert does), or mend the file.",
    )


def _empty(boxes: _Boxes) -> Iterator[Finding]:
    yield from _finding(
        "box-empty",
        [(row, _corners(box)) for row, _, box in boxes if not _has_area(box)],
        "Boxes have no area",
        "Right and bottom have to be larger than left and top; where they hold width and height, add left and top.",
    )


def _unknown(boxes: _Boxes, classes: Sequence[str]) -> Iterator[Finding]:
    found = [(row, box.label) for row, _, box in boxes if box.label not in classes]
    hint = "; ".join(
        str(unknown("class", label, classes, "--classes").hint) for label in sorted({label for _, label in found})[:3]
    )
    yield from _finding("box-class", found, "Boxes are of classes that --classes doesn't name", hint)


def _slips(boxes: _Boxes) -> Iterator[Finding]:
    """Classes that are another's spelling, or that occur once or twice among thousands."""
    counts = Counter(box.label for _, _, box in boxes)
    usual: dict[str, str] = {}
    for label, _ in counts.most_common():
        usual.setdefault(plain(label), label)
    variants = {label: f"{label}, usually {usual[plain(label)]}" for label in counts if usual[plain(label)] != label}
    rare = {label: label for label, count in counts.items() if len(boxes) >= _MANY and count <= _FEW}
    notes = rare | variants
    yield from _finding(
        "box-class",
        [(row, notes[box.label]) for row, _, box in boxes if box.label in notes],
        "Boxes are of classes that look like a slip of the pen",
        "A detector would learn a class of its own for them. Write the usual name, or name all classes by --classes.",
        "warning",
    )


def _repeated(boxes: _Boxes) -> Iterator[Finding]:
    found = []
    seen: dict[int, list[Box]] = defaultdict(list)
    for row, _, box in boxes:
        if any(box.label == other.label and _distance(box, other) < _SAME for other in seen[row]):
            found.append((row, _corners(box)))
        seen[row].append(box)
    yield from _finding(
        "box-repeated",
        found,
        "Boxes stand twice on the same picture",
        "One finding would count as two, and the second is missed by every detector. Remove the repetition.",
        "warning",
    )


def _on_negatives(evidence: Evidence, boxes: _Boxes) -> Iterator[Finding]:
    negative = {label for label, name in enumerate(evidence.table.classes) if plain(name) in _NEGATIVE}
    yield from _finding(
        "box-on-negative",
        [(row, _corners(box)) for row, _, box in boxes if evidence.table[row].label in negative],
        "Boxes lie on pictures whose label says that there is nothing",
        "Either the label or the box is wrong. Look at them and mend one.",
    )


def _finding(
    kind: str, found: Sequence[tuple[int, str]], what: str, advice: str, severity: Severity = "error"
) -> Iterator[Finding]:
    """One finding of all boxes with the same fault, a group a picture."""
    notes: dict[int, list[str]] = defaultdict(list)
    for row, note in found:
        notes[row].append(note)
    if notes:
        title = f"{what}: {counted(len(found), 'box', 'boxes')} on {counted(len(notes), 'picture')}"
        groups = tuple(Group((row,), "; ".join(dict.fromkeys(each))) for row, each in notes.items())
        yield Finding(kind, severity, title, advice, groups, {"boxes": len(found)})


def _has_area(box: Box) -> bool:
    return box.right > box.left and box.bottom > box.top


def _distance(one: Box, other: Box) -> float:
    return max(
        abs(one.left - other.left),
        abs(one.top - other.top),
        abs(one.right - other.right),
        abs(one.bottom - other.bottom),
    )


def _corners(box: Box) -> str:
    return f"{box.label} " + ", ".join(f"{corner:.6g}" for corner in (box.left, box.top, box.right, box.bottom))
