"""SSD on real chest radiographs with boxes: average precision by cross-validation, and what it finds on eight films.

    python -m benchmarks.real_boxes --labels rsna_labels.csv --images images --start classifier.safetensors

The labels are a table as RSNA's 2018 challenge has it (x, y, width, height, Target) whose column ``image`` names the
file. ``dataset_convert`` deals the patients to the folds, each of which is once the ``validation_fold`` of
examples/siim_ssd/train.txt; only its paths and its backbone are changed. Nothing is chosen on the films that are
tested: all folds train as long, and the last epoch counts.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.common import in_sentences, show, write_json
from xraycls.cli.tao_printer import TaoPrinter
from xraycls.data.box_sources import read_boxes
from xraycls.data.formats.kitti import KittiObject, format_kitti, parse_kitti
from xraycls.data.formats.rsna import read_rsna
from xraycls.data.lettering import write_picture
from xraycls.data.sheet import Pixels, contact_sheet
from xraycls.data.show import tile_of
from xraycls.data.table import SampleTable
from xraycls.evaluation.detection.cases import ImageBoxes, detections_from_boxes
from xraycls.evaluation.detection.summary import detection_table
from xraycls.evaluation.detection.table import DetectionReport, detection_report
from xraycls.progress import TrainingProgress
from xraycls.tao.dataset_convert.run import dataset_convert
from xraycls.tao.dataset_export import DatasetExport, KittiConfig
from xraycls.tao.networks.ssd import SSD, ssd_job
from xraycls.tao.networks.ssd_spec import DataSource, SSDSpec
from xraycls.tao.programs import open_spec, read_spec
from xraycls.tao.spec import write_spec
from xraycls.types import Box, Sample
from xraycls.workflows.detection.inference import infer
from xraycls.workflows.detection.spec import train_spec

SPEC = Path(__file__).parents[1] / "examples" / "siim_ssd" / "train.txt"
CLASS = "opacity"
"""What every box is called."""
LEAST, SURE, SHOWN = 0.01, 0.3, 8
"""Score from which a box counts, and from which it is drawn on so many films."""


def main() -> None:
    """Train and look once a fold, print the table and write JSON and eight pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True, help="table of boxes")
    parser.add_argument("--images", type=Path, required=True, help="folder of the films, PNG")
    parser.add_argument("--start", type=Path, help="weights of a classifier for the backbone; random when omitted")
    parser.add_argument("--arch", default="mobilenet_v2", help="backbone, with its layers after a colon: resnet:18")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--output", type=Path, default=Path("runs/real_boxes"))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    table = read_films(given.labels, given.images, given.output)
    records = write_records(table, given.output, given.folds)
    films: list[Sample] = []
    found: list[Sample] = []
    for fold in range(given.folds):
        spec = write_fold(records, fold, given.arch, given.output)
        tested = read_boxes(ssd_job(open_spec(spec, SSDSpec)).data).validation
        looked = look(train(spec, given), given.output / "kitti" / "images")
        films += tested
        found += [replace(film, boxes=looked[film.path.stem]) for film in tested]
    report = judged(films, found)
    header, *rows = detection_table(report)
    negatives = f"{report.negatives} of them without a box"
    show(f"{report.images} films, {negatives}; {given.folds}-fold cross-validation, 95 % intervals", header, rows)
    write_picture(sheet(films, found), given.output / "seen.jpg")
    settings = {name: getattr(given, name) for name in ("arch", "size", "epochs", "folds")}
    start = given.start.name if given.start else None
    write_json(given.json, {"settings": settings | {"start": start}, "report": report.to_dict()})


def read_films(labels: Path, images: Path, work: Path) -> SampleTable:
    """The films of a table, each box an opacity."""
    work.mkdir(parents=True, exist_ok=True)
    renamed = work / "stage_2_train_labels.csv"
    columns = ("x", "y", "width", "height", "Target")
    with labels.open(newline="", encoding="utf-8") as source, renamed.open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(("patientId", *columns))
        writer.writerows((Path(row["image"]).stem, *(row[each] for each in columns)) for row in csv.DictReader(source))
    table = read_rsna(renamed, images=images)
    return table.with_samples(
        replace(sample, boxes=tuple(replace(box, label=CLASS) for box in sample.boxes)) for sample in table
    )


def write_records(table: SampleTable, work: Path, folds: int) -> Path:
    """The films as KITTI folders and as TFRecords whose folds share no patient; the folder of the records."""
    records, kitti = work / "records", work / "kitti"
    if records.is_dir():
        return records
    for name in ("images", "labels"):
        (kitti / name).mkdir(parents=True, exist_ok=True)
    frames = defaultdict[str, list[str]](list)
    for film in table:
        stem = film.path.stem
        shutil.copy(film.path, kitti / "images" / f"{stem}.png")
        (kitti / "labels" / f"{stem}.txt").write_text(format_kitti(map(KittiObject.of, film.boxes)))
        frames[patient_of(film)].append(stem)
    (work / "patients.json").write_text(json.dumps(frames))
    config = KittiConfig(
        root_directory_path=str(kitti.resolve()),
        image_dir_name="images",
        label_dir_name="labels",
        partition_mode="sequence",
        num_partitions=folds,
        kitti_sequence_to_frames_file=str((work / "patients.json").resolve()),
    )
    write_spec(DatasetExport(kitti_config=config), work / "convert.txt")
    dataset_convert(work / "convert.txt", records / "films")
    return records


def write_fold(records: Path, fold: int, arch: str, work: Path) -> Path:
    """The spec whose validation fold is ``fold``."""
    spec = read_spec(SPEC, SSDSpec)
    assert spec.ssd_config
    name, _, layers = arch.partition(":")
    kitti = str((work / "kitti").resolve())
    source = DataSource(tfrecords_path=f"{records.resolve()}/films*", image_directory_path=kitti)
    data = replace(spec.dataset_config, data_sources=(source,), validation_fold=fold)
    path = work / f"fold{fold}.txt"
    write_spec(
        replace(spec, dataset_config=data, ssd_config=replace(spec.ssd_config, arch=name, nlayers=int(layers or 0))),
        path,
    )
    return path


def train(spec: Path, given: argparse.Namespace) -> Path:
    """The model of a fold; a fold whose training has ended isn't trained again."""
    results = given.output / spec.stem
    name = given.arch.replace(":", "")
    model: Path = results / "weights" / f"ssd_{name}_epoch_{given.epochs:03d}.safetensors"
    if not model.is_file():
        size = given.size, given.size
        with TrainingProgress() as reporter:
            train_spec(
                SSD, spec, results, weights=given.start, epochs=given.epochs, size=size, reporter=TaoPrinter(reporter)
            )
    return model


def look(model: Path, images: Path) -> dict[str, tuple[Box, ...]]:
    """What a model finds, by the names of the films."""
    folder = model.parents[1] / "found"
    infer(model, images, labels=folder, threshold=LEAST)
    return {file.stem: tuple(o.box for o in parse_kitti(file.read_text(), file)) for file in folder.glob("*.txt")}


def patient_of(film: Sample) -> str:
    """NIH's number of a patient, which its file names begin with."""
    return film.path.stem.partition("_")[0]


def sheet(films: Sequence[Sample], found: Sequence[Sample]) -> Pixels:
    """Eight films with boxes, evenly spread over all: what was drawn, and what was found with some confidence."""
    of = {sample.path: sample for sample in found}
    drawn = [sample for sample in films if sample.boxes]
    tiles = []
    for sample in drawn[:: max(len(drawn) // SHOWN, 1)][:SHOWN]:
        sure = [box for box in of[sample.path].boxes if (box.score or 0.0) >= SURE]
        scores = ", ".join(f"{box.score:.2f}" for box in sure) or "nothing"
        boxes = (*(replace(box, label="reader") for box in sample.boxes), *(replace(box, label="SSD") for box in sure))
        tiles.append(replace(tile_of(sample, f"{sample.path.stem}\nSSD: {scores}"), boxes=boxes))
    return contact_sheet(tiles, columns=4, side=320)


def judged(films: Sequence[Sample], found: Sequence[Sample]) -> DetectionReport:
    """All figures over all folds."""
    return detection_report(
        [ImageBoxes.from_boxes(film.boxes, (CLASS,)) for film in films],
        [detections_from_boxes(film.boxes, (CLASS,)) for film in found],
        (CLASS,),
        groups=[patient_of(film) for film in films],
    )


if __name__ == "__main__":
    in_sentences(main)
