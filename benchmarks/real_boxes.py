"""Detectors on real chest radiographs with boxes: a table over networks, and their fusion as the last row.

    python -m benchmarks.real_boxes --labels rsna_labels.csv --images images --start classifier.safetensors
    python -m benchmarks.real_boxes --nih nih_boxes --start classifier.safetensors --networks ssd yolo_v4

``--labels`` is a table as RSNA's 2018 challenge has it (x, y, width, height, Target) whose column ``image`` names the
film: its patients are dealt to folds, each of which is tested by a model of the others, and the figures pool all folds.
``--nih`` is a folder with NIH's boxes of eight findings (benchmarks/real_films.py): its validation split is tested once
a network, and with it every network first learns where any opacity is, from its films of patients who are tested
nowhere. Nothing is chosen on films that are tested: settings are fixed, and the last epoch counts.
What was found is kept below ``--output`` a network and part; the table is printed of what is there.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.common import in_sentences, show, write_json
from benchmarks.localisation import PUBLISHED, localisation_accuracy
from benchmarks.real_films import NIH, Films, films_of_others, nih_films, patient_of, rsna_films, write_parts
from benchmarks.real_networks import (
    LEAST,
    NETWORKS,
    TITLES,
    Cell,
    Training,
    learn_first,
    minutes_of,
    read_detections,
    read_unet,
    run,
)
from xraycls.data.lettering import write_picture
from xraycls.data.sheet import Pixels, contact_sheet
from xraycls.data.show import tile_of
from xraycls.evaluation.detection.cases import ImageBoxes
from xraycls.evaluation.detection.summary import format_figure
from xraycls.evaluation.detection.table import DetectionReport, detection_report
from xraycls.inference.fusion import weighted_boxes_fusion
from xraycls.types import Detections, Sample

FUSION = "weighted boxes fusion"
FIGURES: Mapping[str, str] = {
    "ap_sample": "AP@0.5, 11 points",
    "ap_integrate": "AP@0.5, area",
    "froc_1": "sensitivity, 1 false a film",
    "froc_4": "4 false a film",
}
"""Columns of the table."""

EPOCHS: Mapping[str, tuple[dict[str, int], str]] = {
    "first-epochs": (
        {"ssd": 15, "yolo_v4": 10, "faster_rcnn": 10},
        "NIH's films of untested patients, before all else",
    ),
    "epochs": ({"ssd": 40, "yolo_v4": 12, "faster_rcnn": 12}, "the folds of --labels"),
    "nih-epochs": ({"ssd": 12, "yolo_v4": 5, "faster_rcnn": 5}, "the training films of --nih"),
}
"""How long each network learns."""

SURE, SHOWN = 0.3, 8
"""Score from which a box is drawn, on so many films."""

MOST = 8
"""Rows that are fused at most."""


def main() -> None:
    """Train and test what isn't there yet, print the tables and write JSON and pictures."""
    given = parse()
    results: dict[str, Any] = {}
    sets = [write_parts(drawn, given.output) for drawn in data_sets(given)]
    if not given.table_only:
        learn(given, sets)
    for films in sets:
        found = all_detections(films, given.networks, given.output / films.name)
        if films.name != NIH:
            found |= {f"U-Net, {seed.name}": read_unet(seed, films) for seed in given.unet}
        if found:
            results[films.name] = tell(films, with_fusion(found), given.output)
    settings = {name: getattr(given, name) for name in ("arch", "size", "first_epochs", "epochs", "nih_epochs")}
    start = given.start.name if given.start else None
    write_json(given.json, {"settings": {**settings, "start": start}, "data": results})


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, help="RSNA's table of boxes")
    parser.add_argument("--images", type=Path, help="folder of its films")
    parser.add_argument("--nih", type=Path, help="folder with boxes.csv, images.csv and images")
    parser.add_argument("--networks", nargs="+", choices=tuple(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--start", type=Path, help="weights of a classifier for the backbones; random when omitted")
    parser.add_argument("--arch", default="mobilenet_v2", help="backbone of all networks")
    parser.add_argument("--size", type=int, default=160)
    for name, (_, on) in EPOCHS.items():
        parser.add_argument(f"--{name}", type=int, nargs="+", help=f"of each network, on {on}")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--output", type=Path, default=Path("runs/real_boxes"))
    parser.add_argument("--unet", type=Path, nargs="+", default=[], help="finished seeds of benchmarks.unet, as rows")
    parser.add_argument("--table-only", action="store_true", help="print what is there, train nothing")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if (given.labels is None) != (given.images is None) or not (given.labels or given.nih):
        parser.error("give --labels with --images, or --nih, or all three")
    for path in filter(None, (given.labels, given.images, given.nih, given.start, *given.unet)):
        if not path.exists():
            parser.error(f"there is no {path}")
    if given.unet and not given.labels:
        parser.error("--unet needs --labels: these are the films that benchmarks.unet tests")
    if len(given.networks) + len(given.unet) > MOST:
        parser.error(f"at most {MOST} rows are fused")
    for name, (epochs, _) in EPOCHS.items():
        asked = getattr(given, name.replace("-", "_")) or [epochs[network] for network in given.networks]
        if len(asked) != len(given.networks):
            parser.error(f"give --{name} for each of --networks")
        setattr(given, name.replace("-", "_"), dict(zip(given.networks, asked, strict=True)))
    return given


def data_sets(given: argparse.Namespace) -> list[Films]:
    """The data sets that were asked for."""
    films = [rsna_films(given.labels, given.images, given.output, given.folds)] if given.labels else []
    return [*films, nih_films(given.nih)] if given.nih else films


def learn(given: argparse.Namespace, sets: Sequence[Films]) -> None:
    """Train and test every network in every part of every data set, unless that is done."""
    others = None
    if given.nih:
        taken = {patient_of(film) for films in sets for film in films.judged}
        others = write_parts(films_of_others(given.nih, taken), given.output)
    for network in given.networks:
        settings = Training(given.arch, given.size, given.first_epochs, given.start)
        if others:
            settings = learn_first(network, others, settings, given.output / others.name)
        for films in sets:
            epochs = given.nih_epochs if films.name == NIH else given.epochs
            for part in films.tested:
                run(Cell(network, part, given.output / films.name), films, replace(settings, epochs=epochs))


def all_detections(films: Films, networks: Sequence[str], folder: Path) -> dict[str, list[Detections]]:
    """What each network found in all tested films, as far as it has been asked about all of them."""
    found = {}
    for network in networks:
        cells = [Cell(network, part, folder) for part in films.tested]
        if all(cell.results.is_file() for cell in cells):
            found[network] = [each for cell in cells for each in read_detections(cell, films)]
    return found


def with_fusion(found: Mapping[str, list[Detections]]) -> dict[str, list[Detections]]:
    """What each network found and, of two or more, their fusion."""
    fused = [weighted_boxes_fusion(each) for each in zip(*found.values(), strict=True)]
    return {**found, FUSION: fused} if len(found) > 1 else {**found}


def tell(films: Films, found: Mapping[str, list[Detections]], output: Path) -> dict[str, Any]:
    """Print the tables of a data set, draw the films, and give all figures for JSON."""
    reports = {network: judged(films, each) for network, each in found.items()}
    first = next(iter(reports.values()))
    rows = [
        (TITLES.get(network, network), *(format_figure(report.figures[name]) for name in FIGURES))
        for network, report in reports.items()
    ]
    title = f"{films.name}: {first.images} films, {first.negatives} without a box; 95 % intervals by patient"
    show(title, ("", *FIGURES.values()), rows)
    places = {}
    if len(films.classes) > 1:
        show_classes(films, reports)
        places = {network: show_places(films, TITLES.get(network, network), each) for network, each in found.items()}
    for network, each in found.items():
        picture = sheet(films.judged, [one.to_boxes(films.classes) for one in each], TITLES.get(network, "fused"))
        write_picture(picture, output / films.name / f"{network.replace(' ', '_')}.jpg")
    return {
        network: {
            "cpu_minutes": minutes(films, network, output / films.name),
            "report": report.to_dict(),
            "localisation": places.get(network),
        }
        for network, report in reports.items()
    }


def show_classes(films: Films, reports: Mapping[str, DetectionReport]) -> None:
    """Print the average precision of every class, a network a column."""
    rows = [
        (name, *(format_figure(report.per_class[name]["ap_sample"]) for report in reports.values()))
        for name in films.classes
    ]
    show(f"{films.name}: AP@0.5 of each class, 11 points", ("", *(TITLES.get(n, n) for n in reports)), rows)


def show_places(films: Films, title: str, found: Sequence[Detections]) -> dict[str, list[dict[str, Any]]]:
    """Print NIH's localisation accuracy of a network beside what was published; gives it for JSON."""
    truths = [ImageBoxes.from_boxes(film.boxes, films.classes) for film in films.judged]
    accuracy = localisation_accuracy(truths, found, len(films.classes), [patient_of(film) for film in films.judged])
    rows = []
    for (rule, threshold), estimates in accuracy.items():
        pairs = zip(estimates, PUBLISHED[rule, threshold], strict=True)
        rows.append((f"{rule} {threshold:g}", *(f"{ours.value:.2f} ({theirs:.2f})" for ours, theirs in pairs)))
    header = ("", *(name[:8] for name in films.classes))
    show(f"{title}: localisation accuracy of the surest box (Wang et al. 2017, weakly supervised)", header, rows)
    return {f"{rule} {threshold:g}": [e.to_dict() for e in each] for (rule, threshold), each in accuracy.items()}


def judged(films: Films, found: Sequence[Detections]) -> DetectionReport:
    """All figures over all tested films."""
    truths = [ImageBoxes.from_boxes(film.boxes, films.classes) for film in films.judged]
    patients = [patient_of(film) for film in films.judged]
    return detection_report(
        truths,
        found,
        films.classes,
        confidence_threshold=LEAST / MOST,  # fusion divides what one network alone has found
        groups=patients,
        resamples=1000,
    )


def sheet(films: Sequence[Sample], found: Sequence[Sequence[Any]], title: str) -> Pixels:
    """Eight films with boxes, evenly spread over all: what was drawn, and what was found with some confidence."""
    pairs = [(film, boxes) for film, boxes in zip(films, found, strict=True) if film.boxes]
    tiles = []
    for film, boxes in pairs[:: max(len(pairs) // SHOWN, 1)][:SHOWN]:
        sure = [box for box in boxes if (box.score or 0.0) >= SURE]
        scores = ", ".join(f"{box.score:.2f}" for box in sure) or "nothing"
        drawn = (*(replace(b, label="reader") for b in film.boxes), *(replace(b, label=title) for b in sure))
        tiles.append(replace(tile_of(film, f"{film.path.stem}\n{title}: {scores}"), boxes=drawn))
    return contact_sheet(tiles, columns=4, side=320)


def minutes(films: Films, network: str, folder: Path) -> float | None:
    """CPU minutes that all cells of a network took; None for the fusion."""
    if network not in NETWORKS:
        return None
    return round(sum(minutes_of(Cell(network, part, folder)) for part in films.tested), 1)


if __name__ == "__main__":
    in_sentences(main)
