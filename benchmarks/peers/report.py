"""From answers to figures: the rows of the table, the bars that were set, and the tables in the documents."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import median_ratio
from benchmarks.peers.pipelines import HAND_WRITTEN, PIPELINES, SEED, UNCACHED
from benchmarks.peers.task import Output

_ROOT = Path(__file__).parents[2]
_BEGIN, _END = "<!-- written by benchmarks.peers -->", "<!-- end of what benchmarks.peers wrote -->"
_MB = 1e6
_OUTPUTS: tuple[Output, ...] = ("float32", "uint8")

Rates = list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A pipeline's figures.

    Attributes:
        name: of the pipeline.
        version: of the package.
        why: it was not measured; None where it was.
        prepared: seconds that its store took, for all files.
        first: pictures a second of the first epoch, a figure a round, by output.
        whole: the same with the time of the store.
        steady: of later epochs.
        processor: pictures a second of processor time in later epochs.
        memory: bytes.
        memory_of_torch: of ``memory``, what ``import torch`` takes.
        disk: bytes written beside the files.
    """

    name: str
    version: str | None = None
    why: str | None = None
    prepared: float | None = None
    first: Mapping[str, Rates]
    whole: Mapping[str, Rates]
    steady: Mapping[str, Rates]
    processor: Mapping[str, Rates]
    memory: int = 0
    memory_of_torch: int = 0
    disk: int = 0


def rows(result: Mapping[str, Any]) -> list[Row]:
    """The rows of the table in its order, with those that were not measured."""
    found, missing = result["pipelines"], result["not_measured"]
    none: Mapping[str, Rates] = {}
    return [
        _row(name, found[name])
        if name in found
        else Row(name=name, why=missing[name], first=none, whole=none, steady=none, processor=none)
        for name in PIPELINES
        if name in found or name in missing
    ]


def _row(name: str, facts: Mapping[str, Any]) -> Row:
    rounds, stored = facts["rounds"], facts["prepared"] or {"seconds": 0.0, "disk": 0}
    outputs = PIPELINES[name].outputs

    def rates(part: str, clock: str, before: float = 0.0) -> dict[str, Rates]:
        return {
            output: [each[output][part]["images"] / (before + each[output][part][clock]) for each in rounds]
            for output in outputs
        }

    return Row(
        name=name,
        version=facts["version"],
        prepared=facts["prepared"] and stored["seconds"],
        first=rates("first", "seconds"),
        whole=rates("first", "seconds", stored["seconds"]),
        steady=rates("steady", "seconds"),
        processor=rates("steady", "cpu_seconds"),
        memory=facts["memory_of_imports"] + max(each[output]["memory"] for each in rounds for output in outputs),
        memory_of_torch=facts["memory_of_torch"],
        disk=stored["disk"] + max(each[output]["disk"] for each in rounds for output in outputs),
    )


@dataclass(frozen=True)
class Columns:
    """The columns of a table: heading → the text of a cell, from a row and the seed's."""

    cells_of: Mapping[str, Callable[[Row, Row | None], str]]

    def __iter__(self):  # noqa: ANN204
        return iter(self.cells_of)

    def cells(self, row: Row, seed: Row | None) -> list[str]:
        """The cells of a row; a row without figures has its name and the reason."""
        if row.why is not None:
            return [row.name, f"not measured: {row.why}", *[""] * (len(self.cells_of) - 2)]
        return [cell(row, seed) for cell in self.cells_of.values()]


def _median(figures: str, output: Output) -> Callable[[Row, Row | None], str]:
    def cell(row: Row, _: Row | None) -> str:
        rates = getattr(row, figures).get(output)
        return f"{statistics.median(rates):,.0f}" if rates else "–"

    return cell


def _times_seed(output: Output) -> Callable[[Row, Row | None], str]:
    def cell(row: Row, seed: Row | None) -> str:
        return (
            f"{median_ratio(row.steady[output], seed.steady['float32']):.1f}" if seed and output in row.steady else "–"
        )

    return cell


def _name(row: Row, _: Row | None) -> str:
    return f"**{row.name}**" if PIPELINES[row.name].kind == "ours" else row.name


def _megabytes(size: Callable[[Row], int]) -> Callable[[Row, Row | None], str]:
    return lambda row, _: f"{size(row) / _MB:,.0f}"


_FIGURES = {
    "first epoch": _median("first", "float32"),
    "steady": _median("steady", "float32"),
    "× seed": _times_seed("float32"),
    "steady, uint8": _median("steady", "uint8"),
    "a processor second": _median("processor", "float32"),
    "MB": _megabytes(lambda row: row.memory),
}

COMPACT = Columns({"pipeline": _name, "reads": lambda row, _: PIPELINES[row.name].reads, **_FIGURES})

COMPLETE = Columns(
    {
        "pipeline": _name,
        "version": lambda row, _: row.version or "",
        "reads": lambda row, _: PIPELINES[row.name].reads,
        "channels": lambda row, _: str(PIPELINES[row.name].channels),
        "store, s": lambda row, _: "" if row.prepared is None else f"{row.prepared:.1f}",
        "first epoch": _median("first", "float32"),
        "first, with the store": _median("whole", "float32"),
        "steady": _median("steady", "float32"),
        "× seed": _times_seed("float32"),
        "first, uint8": _median("first", "uint8"),
        "steady, uint8": _median("steady", "uint8"),
        "× seed, uint8": _times_seed("uint8"),
        "a processor second": _median("processor", "float32"),
        "the same, uint8": _median("processor", "uint8"),
        "memory, MB": _megabytes(lambda row: row.memory),
        "of it torch": _megabytes(lambda row: row.memory_of_torch),
        "disk, MB": _megabytes(lambda row: row.disk),
    }
)


def seed_of(lines: Sequence[Row]) -> Row | None:
    """The row of the seed's loader, where it was measured."""
    return next((row for row in lines if row.name == SEED and row.why is None), None)


def table(lines: Sequence[Row], columns: Columns) -> str:
    """Rows as Markdown."""
    body = [list(columns), ["---"] * len(list(columns)), *(columns.cells(row, seed_of(lines)) for row in lines)]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n" for cells in body)


def bars(lines: Sequence[Row], pictures: int) -> list[str]:
    """What was aimed at, and whether it was reached.

    Args:
        lines: all rows.
        pictures: bytes of an epoch's pictures as they are kept.
    """
    rows = {row.name: row for row in lines if row.why is None}
    if not rows.keys() >= {SEED, "xraycls", "xraycls, prepared", "xraycls, prepared, resident"}:
        return ["The bars need the rows of the seed's loader and of xraycls."]
    seed, ours = rows[SEED], rows["xraycls"]
    others = [row for row in rows.values() if PIPELINES[row.name].kind != "ours"]
    kept = [row for row in others if PIPELINES[row.name].keeps]
    found = []
    for output in _OUTPUTS:
        base = seed.steady["float32"]
        prepared = max(
            (rows["xraycls, prepared"], rows["xraycls, prepared, resident"]), key=lambda r: sum(r.steady[output])
        )
        found += [
            _bar(
                f"steady from files, {output}: {{:.1f}} × the seed's loader",
                median_ratio(ours.steady[output], base),
                60,
            ),
            _beside(f"steady from files, {output}", "steady", output, ours, kept, 1.3),
            _bar(f"prepared, {output}: {{:.1f}} × the seed's loader", median_ratio(prepared.steady[output], base), 130),
            _beside(f"first epoch from JPEG, {output}", "whole", output, ours, others, 1.0),
        ]
    found.append(_memory(ours, pictures))
    return found


def _memory(row: Row, pictures: int) -> str:
    """The bar on memory, with what importing torch alone takes."""
    most, beside_torch = pictures + 300 * _MB, row.memory - row.memory_of_torch
    return (
        f"{_verdict(row.memory <= most)}: memory of a cached run {row.memory / _MB:,.0f} MB; the aim is pictures"
        f" ({pictures / _MB:,.0f} MB) + 300 MB; {beside_torch / _MB:,.0f} MB beside what importing torch alone takes,"
        f" by which it {_verdict(beside_torch <= most)}"
    )


def _verdict(reached: bool) -> str:
    return "holds" if reached else "missed"


def _bar(sentence: str, reached: float, aim: float) -> str:
    return f"{'holds' if reached >= aim else 'missed'}: {sentence.format(reached)}; the aim is {aim:g}"


def _beside(what: str, figures: str, output: Output, ours: Row, others: Sequence[Row], aim: float) -> str:
    """The bar against every one of the others: those that are nearer than the aim are named."""
    ratios = {
        row.name: median_ratio(getattr(ours, figures)[output], getattr(row, figures)[output])
        for row in others
        if output in row.steady
    }
    if not ratios:
        return f"not measured: {what}; no peer was"
    nearer = {name: ratio for name, ratio in ratios.items() if ratio < aim}
    packages = min((ratio for name, ratio in ratios.items() if name != HAND_WRITTEN), default=0.0)
    verdict = "missed" if nearer else "holds"
    names = "".join(f"; {name}: {ratio:.2f} ×" for name, ratio in nearer.items())
    return f"{verdict}: {what}: {packages:.2f} × the fastest package; the aim is {aim:g} × every peer{names}"


def update_documents(lines: Sequence[Row], result: Mapping[str, Any], sentences: Sequence[str]) -> None:
    """Put the tables into README.md and docs/benchmarks.md, between the marks there."""
    facts = f"{result['files']} files, epochs of {result['images']}, {result['threads']} threads or workers"
    facts = f"{facts}, medians of {result['rounds']} rounds"
    short = [row for row in lines if row.name != UNCACHED]  # everything that a user would take
    _replace(_ROOT / "README.md", table(short, COMPACT))
    points = "".join(f"- {sentence}\n" for sentence in sentences)
    _replace(_ROOT / "docs/benchmarks.md", f"\n{facts}:\n\n{table(lines, COMPLETE)}\n{points}\n")


def _replace(path: Path, text: str) -> None:
    before, begin, rest = path.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{path} has no place for the table: {_BEGIN} … {_END}")
    path.write_text(f"{before}{begin}\n{text}{end}{after}")
