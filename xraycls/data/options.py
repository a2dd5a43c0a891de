"""How a data source is to be read, where the user knows better than its files tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TaskName = Literal["auto", "single", "multi"]
Blank = Literal["unknown", "absent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """Wishes of the user; the defaults let the source tell.

    Attributes:
        path_column: the column of a table that names the images.
        label_column: the column that holds the class.
        patient_column: the column that holds the patient.
        split_column: the column that holds the split, or numbers of folds.
        fold: the number of the fold that is held out, where a column numbers folds.
        positive: the positive one of two classes.
        class_map: what classes are renamed to, as "COVID-19=PNEUMONIA,No Finding=NORMAL"; those of one name are merged.
        bits: how many bits the grey levels of 16-bit pictures have.
        keep_masks: keep masks, thumbnails and heat maps beside radiographs as pictures.
        task: "single" for one label an image, "multi" for several findings an image; "auto" lets the source tell.
        labels: the findings to tell, separated by commas: columns of a table, or names that its cells list.
        label_separator: what separates the findings in the cells of the label's column.
        blank: what an empty cell says of a finding.
        views: projections to keep, such as "frontal", "lateral" or "PA,AP".
    """

    path_column: str | None = None
    label_column: str | None = None
    patient_column: str | None = None
    split_column: str | None = None
    fold: int | None = None
    positive: str | None = None
    class_map: str | None = None
    bits: int | None = None
    keep_masks: bool = False
    task: TaskName = "auto"
    labels: str | None = None
    label_separator: str | None = None
    blank: Blank = "unknown"
    views: str | None = None

    @property
    def columns(self) -> dict[str, str]:
        """The columns that are named, by role."""
        named = {
            "path": self.path_column,
            "label": self.label_column,
            "patient": self.patient_column,
            "split": self.split_column,
        }
        return {role: column for role, column in named.items() if column is not None}

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns of ``labels``."""
        return tuple(name.strip() for name in (self.labels or "").split(",") if name.strip())


AS_IT_IS = ReadOptions()
"""Read a source as it tells itself."""
