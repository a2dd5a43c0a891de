"""Real radiographs with boxes, in parts that share no patient: the films that ``benchmarks.real_boxes`` learns from."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2

from xraycls.data.assign import draw_folds
from xraycls.data.files import atomic_write
from xraycls.data.formats.kitti import KittiObject, format_kitti
from xraycls.data.formats.rsna import read_rsna
from xraycls.data.headers import header_of
from xraycls.data.open import read_grey
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Box, Sample

NIH = "nih"
"""Name of the films with NIH's boxes."""

OPACITY = "opacity"
"""What every box of RSNA's table is called."""

NO_OPACITY = ("Cardiomegaly", "Pneumothorax")
"""Findings of NIH that RSNA's readers would not have drawn a box of."""

WIDTH = 512
"""Pixels that films are reduced to, width and height by the same factor; narrower ones stay as they are."""


@dataclass(frozen=True, slots=True)
class Films:
    """A data set in parts.

    Attributes:
        name: of the data set, and of its folder.
        classes: names of the findings.
        parts: the films by the name of their part; no two parts share a patient.
        tested: parts that are tested, each by a model of all other parts.
    """

    name: str
    classes: tuple[str, ...]
    parts: dict[str, tuple[Sample, ...]]
    tested: tuple[str, ...]

    @property
    def judged(self) -> list[Sample]:
        """All films of the parts that are tested."""
        return [film for part in self.tested for film in self.parts[part]]


def rsna_films(labels: Path, images: Path, work: Path, folds: int) -> Films:
    """Returns the films of a table as RSNA's 2018 challenge has it, in folds by patient.

    Args:
        labels: with the columns image, x, y, width, height and Target.
        images: folder of the films.
        work: folder for what is written.
        folds: 2 or more.
    """
    table = _read_rsna(labels, images, work)
    fold_of = draw_folds(table, folds)
    parts = defaultdict[str, list[Sample]](list)
    for film, fold in zip(table, fold_of, strict=True):
        parts[f"fold{fold}"].append(film)
    films = {name: tuple(parts[name]) for name in sorted(parts)}
    return Films("rsna", (OPACITY,), films, tuple(films))


def nih_films(folder: Path) -> Films:
    """Returns films with NIH's boxes of eight findings; "val" is tested, by a model of "train".

    Args:
        folder: with ``boxes.csv`` (image, label, x, y, width, height), ``images.csv`` (image, patient, split) and the
            films in ``images``.

    Raises:
        DataError: a split that is neither "train" nor "val", or a patient in both.
    """
    boxes = defaultdict[str, list[Box]](list)
    for row in _rows(folder / "boxes.csv"):
        left, top, width, height = (float(row[name]) for name in ("x", "y", "width", "height"))
        boxes[row["image"]].append(Box(row["label"], left, top, left + width, top + height))
    parts: dict[str, list[Sample]] = {"train": [], "val": []}
    for row in _rows(folder / "images.csv"):
        if row["split"] not in parts:
            raise DataError(f"The split of {row['image']} is {row['split']!r}", folder / "images.csv")
        path = folder / "images" / row["image"]
        parts[row["split"]].append(Sample(path, patient=row["patient"], boxes=tuple(boxes[row["image"]])))
    if both := {film.patient for film in parts["train"]} & {film.patient for film in parts["val"]}:
        raise DataError(f"The patient {min(map(str, both))} is in both splits", folder / "images.csv")
    classes = sorted({box.label for found in boxes.values() for box in found})
    return Films(NIH, tuple(classes), {name: tuple(part) for name, part in parts.items()}, ("val",))


def films_of_others(folder: Path, taken: Collection[str]) -> Films:
    """Returns NIH's training films of all patients but ``taken``, as one part named "train".

    Every box is an opacity but those of a heart or of a pneumothorax, which don't count: RSNA's readers would not have
    drawn them.
    """
    films = tuple(
        replace(film, boxes=tuple(replace(box, label=OPACITY) for box in film.boxes if box.label not in NO_OPACITY))
        for film in nih_films(folder).parts["train"]
        if film.patient not in taken
    )
    return Films("others", (OPACITY,), {"train": films}, ())


def write_parts(films: Films, work: Path) -> Films:
    """Write every part as the folders ``images`` and ``labels`` (KITTI); returns the films that were written."""
    parts = {}
    for name, part in films.parts.items():
        folder = work / films.name / name
        parts[name] = tuple(_write(film, folder) for film in part)
        if stray := {path.stem for path in (folder / "images").iterdir()} - {film.path.stem for film in parts[name]}:
            raise DataError(f"{folder} holds {min(stray)}, which is of another draw of the parts", folder)
    return replace(films, parts=parts)


def patient_of(film: Sample) -> str:
    """NIH's number of a patient, which its file names begin with."""
    return film.path.stem.partition("_")[0]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _read_rsna(labels: Path, images: Path, work: Path) -> SampleTable:
    """The table under the names that its reader knows, every box an opacity."""
    work.mkdir(parents=True, exist_ok=True)
    columns: Sequence[str] = ("x", "y", "width", "height", "Target")
    renamed = work / "stage_2_train_labels.csv"
    with atomic_write(renamed) as temporary, temporary.open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(("patientId", *columns))
        writer.writerows((Path(row["image"]).stem, *(row[each] for each in columns)) for row in _rows(labels))
    table = read_rsna(renamed, images=images)
    return table.with_samples(
        replace(film, patient=patient_of(film), boxes=tuple(replace(box, label=OPACITY) for box in film.boxes))
        for film in table
    )


def _write(film: Sample, folder: Path) -> Sample:
    """The film as a PNG of at most ``WIDTH`` pixels beside its boxes; one that is there is not written again."""
    path, labels = folder / "images" / f"{film.path.stem}.png", folder / "labels" / f"{film.path.stem}.txt"
    scale = min(WIDTH / header_of(film).width, 1.0)
    boxes = tuple(
        replace(b, left=b.left * scale, top=b.top * scale, right=b.right * scale, bottom=b.bottom * scale)
        for b in film.boxes
    )
    if not path.is_file() or not labels.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        labels.parent.mkdir(parents=True, exist_ok=True)
        reduced = cv2.resize(read_grey(film.path), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        with atomic_write(path) as temporary:
            temporary.write_bytes(cv2.imencode(".png", reduced)[1].tobytes())
        with atomic_write(labels) as temporary:
            temporary.write_text(format_kitti(map(KittiObject.of, boxes)))
    return replace(film, path=path, boxes=boxes)
