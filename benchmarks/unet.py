"""U-Net on real chest radiographs with boxes: average precision and RSNA's figure by cross-validation.

    python -m benchmarks.unet --labels rsna_labels.csv --images images --start mobilenet_v2.pth --others nih_boxes

The labels are a table as RSNA's 2018 challenge has it whose column ``image`` names the file, as for
``benchmarks.real_boxes``. Nothing is chosen on the films that are tested: all folds train as long, the last weights
count, and the score from which a box is reported comes from other patients. With ``--others`` the network first learns
from films with NIH's boxes, of patients of whom none of the tested films is; once for all folds and seeds. The box rule
of the original pipeline (threshold 0.2, regions of eight neighbours, no tail) reads the same maps beside it. ``--also``
takes finished seeds, whose boxes of every film are fused with those of this one. Run again, it goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import resource
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import in_sentences, show, write_json
from benchmarks.real_films import OPACITY, films_of_others, rsna_films, write_parts
from xraycls.data.formats.kitti import KittiObject, format_kitti
from xraycls.evaluation.summary import format_estimate
from xraycls.inference.fusion import weighted_boxes_fusion
from xraycls.models.detection.map_boxes import BoxRule
from xraycls.progress import TrainingProgress
from xraycls.training.run_folder import RunFolder
from xraycls.workflows.detection.train import train_detector
from xraycls.workflows.unet.folds import PooledFolds, judged, pool_folds, train_folds
from xraycls.workflows.unet.predict import FUSED_IOU
from xraycls.workflows.unet.settings import Asked, unet_job

RULES: Mapping[str, BoxRule] = {
    "mask > 0.3 with tail": BoxRule(),
    "mask > 0.3": BoxRule(tail=0.0),
    "centres with tail": BoxRule(source="centres"),
    "original: mask > 0.2": BoxRule(threshold=0.2, connectivity=8, tail=0.0),
}
"""How boxes are read from the same maps."""
FIGURES = ("ap_sample", "ap_integrate", "froc_1", "froc_4")


def main() -> None:
    """Train and test once a fold, print a table of the rules and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True, help="table of boxes")
    parser.add_argument("--images", type=Path, required=True, help="folder of the films, PNG")
    parser.add_argument("--start", type=Path, help="weights of a classifier for the backbone; random when omitted")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, help="at its peak")
    parser.add_argument("--others", type=Path, help="folder of films with NIH's boxes to learn from first")
    parser.add_argument("--first-epochs", type=int, default=15, help="on these")
    parser.add_argument(
        "--also", type=Path, nargs="+", default=[], help="folders of finished seeds: the boxes of all are fused, too"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/unet_real"))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    judged = films(given.labels, given.images, given.output, given.folds)
    start = given.start and given.start.resolve()
    if given.others:
        start = pretrained(given, judged, start)
    before = processor_seconds()
    asked = Asked(
        data=judged,
        epochs=given.epochs,
        seed=given.seed,
        weights=start,
        train_threshold=False,
        learning_rate=given.learning_rate,
        settings={"loop.validate_every": given.epochs},
        **same(given),
    )
    with TrainingProgress() as reporter:
        runs = train_folds(unet_job(asked), given.folds, given.output / f"seed{given.seed}", reporter=reporter)
    alone = {name: pool_folds(runs, {"boxes": rule}) for name, rule in RULES.items()}
    seconds = processor_seconds() - before
    title = f"{given.folds} folds by patient, seed {given.seed}; {seconds:.0f} CPU seconds of all folds"
    kept = shown(title, alone)
    together: dict[str, Any] = {}
    if given.also:
        others = [[RunFolder(path) for path in sorted(folder.glob("fold-*"))] for folder in given.also]
        fused = {
            name: fused_seeds([alone[name], *(pool_folds(other, {"boxes": rule}) for other in others)])
            for name, rule in RULES.items()
        }
        together = shown(f"The boxes of {1 + len(others)} seeds, fused", fused)
    settings = {name: getattr(given, name) for name in ("backbone", "size", "epochs", "folds", "seed", "learning_rate")}
    settings |= {"start": given.start and given.start.name, "others": given.first_epochs if given.others else None}
    write_json(given.json, {"settings": settings, "cpu_seconds": seconds, "rules": kept, "together": together})


def shown(title: str, rules: Mapping[str, PooledFolds]) -> dict[str, Any]:
    """Print a row a rule; returns the figures as values of JSON."""
    rows, kept = [], {}
    for name, pooled in rules.items():
        figures = [format_estimate(pooled.report.figures[each]) for each in FIGURES]
        nested = pooled.point and pooled.point.nested
        rows.append((name, *figures, format_estimate(nested) if nested else "–"))
        kept[name] = {"report": pooled.report.to_dict(), "rsna_nested": nested and nested.to_dict()}
    show(title, ("Boxes from", "AP@0.5, 11 points", "AP, area", "FROC at 1", "at 4", "RSNA, nested"), rows)
    return kept


def fused_seeds(seeds: Sequence[PooledFolds]) -> PooledFolds:
    """The boxes of every film by several seeds as one, as ``xraycls unet predict`` fuses them.

    Every seed draws its folds anew, and of each the network counts that didn't learn from the film.
    """
    by_film = [{p.path.name: d for p, d in zip(s.pictures, s.detections, strict=True)} for s in seeds]
    pictures = seeds[0].pictures
    found = [
        weighted_boxes_fusion([seed[picture.path.name] for seed in by_film], iou_threshold=FUSED_IOU)
        for picture in pictures
    ]
    return judged(pictures, found, (OPACITY,))


def processor_seconds() -> float:
    """CPU seconds of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def same(given: argparse.Namespace) -> dict[str, Any]:
    """What both trainings have in common."""
    return {"backbone": given.backbone, "size": given.size, "batch_size": 8}


def pretrained(given: argparse.Namespace, judged: Path, start: Path | None) -> Path:
    """The U-Net that learned from NIH's training films of patients of whom no film is judged.

    Boxes of a heart or of a pneumothorax don't count: such films are without opacities here.
    """
    taken = {path.stem.partition("_")[0] for path in (judged / "images").iterdir()}
    others = write_parts(films_of_others(given.others, taken), given.output)
    work = given.output / others.name
    asked = Asked(
        data=work / "train",
        epochs=given.first_epochs,
        seed=0,
        weights=start,
        val_fraction=0.1,
        settings={"loop.validate_every": given.first_epochs},
        **same(given),
    )
    with TrainingProgress() as reporter:
        return train_detector(unet_job(asked), output=work / "run", resume=True, reporter=reporter).run.last


def films(labels: Path, images: Path, work: Path, folds: int) -> Path:
    """A folder of the films and their boxes in KITTI's format; NIH's file names tell the patients."""
    kitti = work / "kitti"
    for name in ("images", "labels"):
        (kitti / name).mkdir(parents=True, exist_ok=True)
    for film in rsna_films(labels, images, work, folds).judged:
        shutil.copy(film.path, kitti / "images" / f"{film.path.stem}.png")
        (kitti / "labels" / f"{film.path.stem}.txt").write_text(format_kitti(map(KittiObject.of, film.boxes)))
    return kitti


if __name__ == "__main__":
    in_sentences(main)
