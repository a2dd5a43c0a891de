"""Which of NIH's eight boxed findings a film has a box of: several findings an image on real films.

    python -m benchmarks.nih_findings --data nih_boxes_512 --weights mobilenet_v2.pth --json \\
        benchmarks/results/nih_findings.json

The folder holds ``images``, ``boxes.csv`` (image, label, …) and ``images.csv`` (image, patient, split). Every film has
at least one box, and a finding without a box may be there all the same: what is learned is which of them a radiologist
drew, by a linear layer on the features of a frozen MobileNetV2. The given validation films are tested once; epoch and
thresholds are chosen on patients drawn from the training films.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import xraycls
from benchmarks.common import in_sentences, show, write_json
from benchmarks.quality import with_interval

SETTINGS: dict[str, Any] = {
    "base_model": "torchvision:mobilenet_v2",
    "freeze": "backbone",
    "size": 224,
    "epochs": 100,
    "patience": 20,
    "batch_size": 32,
    "learning_rate": 0.01,
    "weight_decay": 0.05,
    "class_weights": "balanced",
    "monitor": "auroc",
}
FIGURES = ("auroc", "average_precision")


def main() -> None:
    """Train, test once, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with images, boxes.csv and images.csv")
    parser.add_argument("--weights", default="imagenet", help="of MobileNetV2: imagenet or a file")
    parser.add_argument("--epochs", type=int, default=SETTINGS["epochs"])
    parser.add_argument("--size", type=int, default=SETTINGS["size"])
    parser.add_argument("--output", type=Path, default=Path("runs/nih-findings"))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    settings = SETTINGS | {"weights": given.weights, "epochs": given.epochs, "size": given.size}
    given.output.parent.mkdir(parents=True, exist_ok=True)
    table, names = table_of(given.data, given.output.with_name(f"{given.output.name}.csv"))
    data = {"data": table, "images": given.data / "images", "labels": ",".join(names)}
    with xraycls.TrainingProgress() as reporter:
        xraycls.train(output=given.output, resume="auto", reporter=reporter, **data, **settings)
    if not (given.output / "test.json").is_file():
        xraycls.test(given.output)
    report = json.loads((given.output / "test.json").read_text())
    rows = [
        (name, str(each["present"]), *(with_interval(each[figure]) for figure in FIGURES))
        for name, each in report["per_finding"].items()
    ]
    rows.append(("mean", "", *(with_interval(report[figure]) for figure in FIGURES)))
    show(f"{report['n']} films of patients who weren't learned from", ("finding", "with a box", *FIGURES), rows)
    kept = {
        "films": report["n"],
        "mean": {figure: report[figure] for figure in FIGURES},
        "findings": report["per_finding"],
    }
    write_json(given.json, {"settings": settings | {"weights": Path(given.weights).name}, **kept})


def table_of(folder: Path, path: Path) -> tuple[Path, list[str]]:
    """Write a table with a column of 0 and 1 for each finding that has a box somewhere, and the names of these.

    The given validation films become the test split; validation is drawn from the others.
    """
    boxed: dict[str, set[str]] = defaultdict(set)
    with (folder / "boxes.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            boxed[row["image"]].add(row["label"])
    names = sorted(set().union(*boxed.values()))
    with (folder / "images.csv").open(newline="") as source, path.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["image", "patient", "split", *names])
        for row in csv.DictReader(source):
            has = [int(name in boxed[row["image"]]) for name in names]
            writer.writerow([row["image"], row["patient"], "test" if row["split"] == "val" else "", *has])
    return path, names


if __name__ == "__main__":
    in_sentences(main)
