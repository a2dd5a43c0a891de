"""A thousand damaged tables and label files: every one is read as it was meant or refused in one sentence.

    python -m benchmarks.mutations [--seed 0] [--count 1000]

Mutations are those of editors, spreadsheets and copy and paste: cells blanked, doubled, swapped or replaced by what
programs write for nothing, lines cut, separators and encodings changed, numbers in pixels or without a sign. A
reference reader, written here without the package, says what a class or a box may be.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from xraycls.data.csv import read_csv
from xraycls.data.formats.coco import parse_coco
from xraycls.data.formats.kitti import parse_kitti
from xraycls.data.formats.yolo import parse_yolo
from xraycls.errors import XrayclsError

CLASSES = ("Normal", "Pneumonia", "COVID-19")
NOTHING = ("", "nan", "NaN", "-1", "N/A", "null", "?", "unknown", " ")
FILMS = 24


def table_text(draw: random.Random) -> tuple[str, set[str]]:
    """A damaged table, and the classes that a careful reader would take from it."""
    rows = [[f"f{n}.png", CLASSES[n % 3], f"p{n // 2}", ("train", "val", "test")[n % 3]] for n in range(FILMS)]
    for _ in range(draw.randint(1, 6)):
        row = draw.choice(rows)
        kind = draw.randrange(9)
        if kind == 0 and len(row) > 1:
            row[1] = draw.choice(NOTHING)
        elif kind == 1 and len(row) > 1:
            row[1] = draw.choice((row[1].upper(), row[1].lower(), row[1].replace("-", ""), f" {row[1]} ", f"{row[1]}."))
        elif kind == 2 and len(row) > 1:
            row[1] = draw.choice(("|", ";", ", ", " & ")).join(draw.sample(CLASSES, 2))
        elif kind == 3 and row:
            del row[draw.randrange(len(row)) :]
        elif kind == 4:
            row[0:1] = (
                [draw.choice((row[0].upper(), row[0][:-4], row[0].replace(".png", ".jpg"), "x" * 300, "\0"))]
                if row
                else []
            )
        elif kind == 5:
            rows.append(list(row))
        elif kind == 6 and len(row) > 3:
            row[3] = draw.choice(("Train", "dev", "7", "Testing", ""))
        elif kind == 7:
            row.append("more")
        elif kind == 8 and len(row) > 1:
            row[1] = f"['{row[1]}']"
    text = "\n".join(
        draw.choice((",", ",", ",", ";")).join(row) for row in [["path", "label", "patient", "split"], *rows]
    )
    return text, {plain(name) for name in CLASSES}


def plain(name: str) -> str:
    """Letters and digits alone, small: what spellings of one class share."""
    return "".join(character for character in name.lower() if character.isalnum())


def mutate_table(draw: random.Random, folder: Path) -> str:
    """Read a damaged table; what became of it."""
    text, known = table_text(draw)
    path = folder / "labels.csv"
    path.write_bytes(text.encode(draw.choice(("utf-8", "utf-8-sig", "utf-16"))))
    table = read_csv(path)
    strangers = {name for name in table.classes if plain(name) not in known}
    assert not strangers, f"silent classes {strangers} from {text!r}"
    return "read"


def mutate_yolo(draw: random.Random, _: Path) -> str:
    """Parse a damaged label file of YOLO; boxes must lie in their picture."""
    lines = ["0 0.5 0.5 0.25 0.25", "1 0.2 0.3 0.1 0.1", "0 0.1 0.1 0.5 0.1 0.5 0.6"]
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(lines))
        words = lines[at].split() or ["0"]
        words[draw.randrange(len(words))] = draw.choice(("50", "-0.2", "nan", "inf", "x", "1e9", "", "0,5", "1.5"))
        lines[at] = " ".join(words)
    for found in parse_yolo("\n".join(lines), Path("a.txt")):
        sides = (found.x, found.y, found.width, found.height)
        assert all(math.isfinite(side) and -0.05 <= side <= 1.05 for side in sides), f"silent box {found} of {lines}"
        assert found.width >= 0, f"silent box {found}"
        assert found.height >= 0, f"silent box {found}"
    return "read"


def mutate_kitti(draw: random.Random, _: Path) -> str:
    """Parse a damaged label file of KITTI; boxes must be those of lines with a class of one word."""
    good = "opacity 0.00 0 0.00 {} 0 0 0 0 0 0 0"
    corners = ["5 6 40 50", "10 10 20 30"]
    lines = [good.format(each) for each in corners]
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(lines))
        words = lines[at].split() or ["opacity"]
        kind = draw.randrange(4)
        if kind == 0:
            words[0] = draw.choice(("lung opacity", "opacity left", "traffic light"))
        elif kind == 1:
            words[draw.randrange(len(words))] = draw.choice(("nan", "x", "", "inf"))
        elif kind == 2:
            del words[draw.randrange(len(words)) :]
        else:
            words.append(draw.choice(("0.9", "more", "0")))
        lines[at] = " ".join(words)
    wanted = {tuple(map(float, each.split())) for each in corners}
    for found in parse_kitti("\n".join(lines), Path("a.txt")):
        box = (found.left, found.top, found.right, found.bottom)
        assert box in wanted or len({len(line.split()) for line in lines}) > 1, f"silent box {box} of {lines}"
    return "read"


def mutate_coco(draw: random.Random, _: Path) -> str:
    """Parse a damaged COCO file; boxes must be numbers."""
    entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "iscrowd": 0}
    change = draw.choice(("bbox", "image_id", "category_id", "segmentation", "id"))
    entry[change] = draw.choice(
        ([], None, "x", [1, 2, 3], [math.nan] * 4, {}, -1, [[1, 1, 9, 1, 9, 9]], 1e400, [5, 5, -1, 2])
    )
    coco = {"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "x"}], "annotations": [entry]}
    data = json.dumps(coco).encode(draw.choice(("utf-8", "utf-8-sig", "utf-16")))
    if not draw.randrange(5):
        data = data[: draw.randrange(len(data))]
    for found in parse_coco(data, Path("a.json")).annotations:
        assert found.corners is None or all(map(math.isfinite, found.corners)), f"silent box {found}"
    return "read"


KINDS: tuple[Callable[[random.Random, Path], str], ...] = (
    mutate_table,
    mutate_table,
    mutate_yolo,
    mutate_kitti,
    mutate_coco,
)


def outcomes(count: int, seed: int) -> Counter[str]:
    """How many files were read and how many refused; anything else that is raised is a fault and goes through."""
    draw = random.Random(seed)
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(FILMS):
            (folder / f"f{number}.png").touch()
        for number in range(count):
            try:
                found[KINDS[number % len(KINDS)](draw, folder)] += 1
            except XrayclsError:
                found["refused in a sentence"] += 1
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    given = parser.parse_args()
    logging.getLogger("xraycls").setLevel(logging.ERROR)
    for outcome, times in outcomes(given.count, given.seed).items():
        print(f"{times:>6,} {outcome}")
    print("     0 tracebacks, silent classes or silent boxes")
