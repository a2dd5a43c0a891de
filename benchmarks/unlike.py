"""How well pictures that are unlike the training data are told: the share of each kind that `predict` marks.

    python -m benchmarks.unlike --data kermany_224 --other nih/images --photographs photographs --json unlike.json

A small network is trained on some of ``DATA/train`` (from scratch, or from ``--weights``), its threshold is chosen on
other films of that folder as every training does, and these are marked:

- films of ``DATA/test``, which are of the same site: a mark is a false alarm;
- films of another site (``--other``);
- parts of photographs: those that come with scikit-learn, and any of ``--photographs``;
- drawn hands on a dark ground, of other proportions and grey levels each;
- films of the test split inverted, turned by 90 degrees, and upside down.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import sklearn.datasets

import xraycls
from benchmarks.common import in_sentences, show, write_json
from xraycls.data.folder import image_files
from xraycls.data.open import read_grey

Grey = npt.NDArray[np.uint8]

TRAINED, VALIDATED = 600, 200
COUNT = 100  # pictures of a kind
SETTINGS = {"epochs": 3, "batch_size": 32, "warmup_epochs": 0, "learning_rate": 1e-3, "device": "cpu"}


def main() -> None:
    """Train, mark, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="holds train/CLASS and test/CLASS")
    parser.add_argument("--other", type=Path, required=True, help="films of another site")
    parser.add_argument("--photographs", type=Path, help="a folder of photographs, beside those of scikit-learn")
    parser.add_argument("--base-model", default="ResNet18")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    drawn = random.Random(0)
    kinds = pictures_of_kinds(given, drawn)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        table = training_table(given.data, folder / "films.csv", drawn)
        with xraycls.TrainingProgress() as reporter:
            run = xraycls.train(
                data=table,
                output=folder / "run",
                base_model=given.base_model,
                weights=given.weights,
                size=given.size,
                test_fraction=0.0,
                reporter=reporter,
                **SETTINGS,  # type: ignore[arg-type]
            ).run
        splits = Counter(run.read_samples().values())
        found = {name: marked(run.path, pictures) for name, pictures in kinds.items()}
    rows = [
        (name, f"{each['pictures']}", f"{each['marked']:.0%}", f"{each['sure']:.0%}") for name, each in found.items()
    ]
    title = f"{given.base_model}, {given.size} pixels, {splits['train']} training and {splits['val']} validation films"
    show(title, ("pictures", "number", "marked as unlike", "where a class has 90 % and more"), rows)
    settings = {"base_model": given.base_model, "size": given.size, "weights": Path(given.weights).name, **SETTINGS}
    write_json(given.json, {"settings": settings, "films": dict(splits), "kinds": found})


def training_table(data: Path, path: Path, drawn: random.Random) -> Path:
    """Write a table of films of the training split; no patient is both trained and validated with."""
    films = list(image_files(data / "train"))
    drawn.shuffle(films)
    patients = {film: film.stem.split("_")[0] if "person" in film.stem else film.stem[:7] for film in films}
    trained = films[:TRAINED]
    known = {patients[film] for film in trained}
    validated = [film for film in films[TRAINED:] if patients[film] not in known][:VALIDATED]
    rows = [(film, "train") for film in trained] + [(film, "val") for film in validated]
    path.write_text("path,label,split\n" + "".join(f"{film},{film.parent.name},{split}\n" for film, split in rows))
    return path


def pictures_of_kinds(given: argparse.Namespace, drawn: random.Random) -> dict[str, list[Any]]:
    """Files and arrays of each kind."""
    films, others = list(image_files(given.data / "test")), list(image_files(given.other))
    drawn.shuffle(films)
    drawn.shuffle(others)
    same, changed = films[COUNT : 4 * COUNT], [read_grey(film) for film in films[:COUNT]]
    return {
        "films of the same site": same,
        "films of another site": others[:COUNT],
        "photographs": photographs(given.photographs),
        "hands, drawn": [hand(seed) for seed in range(COUNT)],
        "films inverted": [255 - film for film in changed],
        "films turned by 90 degrees": [np.ascontiguousarray(np.rot90(film)) for film in changed],
        "films upside down": [np.ascontiguousarray(film[::-1]) for film in changed],
    }


def photographs(folder: Path | None) -> list[Grey]:
    """Squares out of photographs, of a third of the shorter side and more."""
    whole = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in sklearn.datasets.load_sample_images().images]
    whole += [read_grey(path) for path in image_files(folder)] if folder else []
    random_state, parts = np.random.default_rng(0), []
    for number in range(COUNT):
        picture = whole[number % len(whole)]
        height, width = picture.shape
        side = int(random_state.integers(min(height, width) // 3, min(height, width)))
        top, left = (int(random_state.integers(0, length - side + 1)) for length in (height, width))
        parts.append(np.ascontiguousarray(picture[top : top + side, left : left + side]))
    return parts


def hand(seed: int, side: int = 224) -> Grey:
    """A drawn radiograph of a hand: soft tissue, and bones in five fingers."""
    random_state = np.random.default_rng(seed)
    picture = np.full((side, side), int(random_state.integers(0, 30)), np.uint8)
    x, y = 112 + int(random_state.integers(-15, 16)), 150
    tissue, bone = int(random_state.integers(80, 130)), int(random_state.integers(180, 250))
    cv2.ellipse(picture, (x, y), (45, 50), 0, 0, 360, tissue, -1)
    for finger, length in enumerate((70, 105, 115, 105, 85)):
        angle = np.deg2rad(-150 + 30 * finger + random_state.uniform(-8, 8))
        across, down = length * np.cos(angle), length * np.sin(angle)
        cv2.line(picture, (x, y), (int(x + across), int(y + down)), tissue, 20)
        for joint in range(1, 4):
            ends = [(int(x + across * at), int(y + down * at)) for at in (joint / 4 + 0.03, (joint + 1) / 4 - 0.03)]
            cv2.line(picture, ends[0], ends[1], bone, 8)
    blurred = cv2.GaussianBlur(picture, (0, 0), 1.5)
    return np.clip(blurred + random_state.normal(0, 3, blurred.shape), 0, 255).astype(np.uint8)


def marked(run: Path, pictures: list[Any]) -> dict[str, float]:
    """The share of pictures that are marked, and of those whose class has a probability of 0.9 and more."""
    predictions, _ = xraycls.predict(run, pictures, device="cpu")
    unlike = [bool(prediction.unlike) for prediction in predictions]
    sure = [max(prediction.probabilities) >= 0.9 for prediction in predictions]
    return {
        "pictures": len(predictions),
        "marked": float(np.mean(unlike)),
        "sure": float(np.mean(sure)),
        "median_distance": float(np.median([prediction.distance for prediction in predictions])),
    }


if __name__ == "__main__":
    in_sentences(main)
