"""How many images and patients the parts of a data set have, as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from xraycls.cli.invocation import print_table

if TYPE_CHECKING:
    from xraycls.data.table import SampleTable


def patients_of(table: SampleTable) -> int:
    """How many patients are known."""
    return len({sample.patient for sample in table if sample.patient is not None})


def print_counts(parts: Mapping[str, SampleTable]) -> None:
    """A row a part: images of each class, images, and patients where they are known."""
    from rich import box
    from rich.table import Table

    classes = next(iter(parts.values())).classes
    shown = Table(box=box.SIMPLE)
    shown.add_column("")
    for name in (*classes, "images", "patients"):
        shown.add_column(name, justify="right")
    for name, part in parts.items():
        counts = (*part.counts().values(), len(part))
        shown.add_row(name, *(f"{count:,}" for count in counts), f"{patients_of(part):,}" if patients_of(part) else "–")
    print_table(shown)
