"""A thousand damaged tables and label files: every one is read as it was meant or refused in one sentence.

    python -m benchmarks.mutations [--seed 0] [--count 1000]

Mutations are those of editors, spreadsheets and copy and paste: cells blanked, doubled, swapped or replaced by what
programs write for nothing, lines cut, separators and encodings changed, numbers in pixels or without a sign. A
reference reader, written here without the package, says what a class or a box may be.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from xraycls.data.csv import read_csv
from xraycls.data.formats.coco import parse_coco
from xraycls.data.formats.kitti import read_kitti
from xraycls.data.formats.rsna import read_rsna
from xraycls.data.formats.voc import read_voc
from xraycls.data.formats.yolo import parse_yolo
from xraycls.data.table import SampleTable
from xraycls.errors import XrayclsError

Corners = tuple[float, ...]
"""Left, top, right and bottom."""

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


def mutate_table(draw: random.Random, folder: Path) -> None:
    """Read a damaged table; every class must be one of those that were written."""
    text, known = table_text(draw)
    path = folder / "labels.csv"
    path.write_bytes(text.encode(draw.choice(("utf-8", "utf-8-sig", "utf-16"))))
    table = read_csv(path)
    strangers = {name for name in table.classes if plain(name) not in known}
    assert not strangers, f"silent classes {strangers} from {text!r}"


def mutate_yolo(draw: random.Random, _: Path) -> None:
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


def mutate_kitti(draw: random.Random, folder: Path) -> None:
    """Read a damaged label folder of KITTI; every box must be one that the reference reader takes from a line."""
    good = "opacity 0.00 0 0.00 {} 0 0 0 0 0 0 0"
    lines = [good.format(corners) for corners in ("5 6 40 50", "10 10 20 30")]
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(lines))
        words = lines[at].split() or ["opacity"]
        kind = draw.randrange(6)
        if kind == 0:
            words[0] = draw.choice(("lung opacity", "opacity left", "traffic light"))
        elif kind == 1:
            words[draw.randrange(len(words))] = draw.choice(("nan", "x", "", "inf", "-3", "1e400", "0,5"))
        elif kind == 2:
            del words[draw.randrange(len(words)) :]
        elif kind == 3 and len(words) > 6:
            words[4], words[6] = words[6], words[4]
        elif kind == 4:
            del words[draw.randrange(len(words))]
        else:
            words.append(draw.choice(("0.9", "more", "0")))
        lines[at] = " ".join(words)
    allowed = [box for line in lines if (box := reference_kitti(line))]
    (folder / "kitti").mkdir(exist_ok=True)
    (folder / "kitti" / "f0.txt").write_text("\n".join(lines))
    _check(_boxes(read_kitti(folder / "kitti", images=folder)), allowed, lines)


def reference_kitti(line: str) -> Corners | None:
    """The corners on a line of a label file; None where it is no object.

    Nine tokens or more, as TAO takes them from a folder; truncation a number, which TAO doesn't
    look at, and no second word of the class; occlusion a whole number; the corners finite and in their order.
    """
    words = line.split()
    try:
        _, _, (left, top, right, bottom) = float(words[1].replace(",", ".")), int(words[2]), map(float, words[4:8])
    except (ValueError, IndexError):
        return None
    sound = len(words) >= 9 and all(map(math.isfinite, (left, top, right, bottom)))
    return (left, top, right, bottom) if sound and left <= right and top <= bottom else None


def mutate_voc(draw: random.Random, folder: Path) -> None:
    """Read a damaged annotation of Pascal VOC; boxes must be numbers in their order."""
    allowed, objects = [], []
    for corners in ([5, 6, 40, 50], [10, 10, 20, 30]):
        texts = [str(at) for at in corners]
        if draw.randrange(2):
            texts[draw.randrange(4)] = draw.choice(("", "nan", "x", "-1", "inf", "60", "1e400", "7.5"))
        with contextlib.suppress(ValueError):
            left, top, right, bottom = map(float, texts)
            if all(map(math.isfinite, (left, top, right, bottom))) and left - 1 <= right and top - 1 <= bottom:
                allowed.append((left - 1, top - 1, right, bottom))
        tags = ("xmin", "ymin", "xmax", "ymax")
        inside = "".join(f"<{tag}>{text}</{tag}>" for tag, text in zip(tags, texts, strict=True))
        objects.append(f"<object><name>opacity</name><bndbox>{inside}</bndbox></object>")
    text = f"<annotation><filename>f0.png</filename>{''.join(objects)}</annotation>"
    if not draw.randrange(5):
        text = text[: draw.randrange(len(text))]
    (folder / "voc").mkdir(exist_ok=True)
    (folder / "voc" / "f0.xml").write_text(text)
    _check(_boxes(read_voc(folder / "voc", images=folder)), allowed, text)


def mutate_rsna(draw: random.Random, folder: Path) -> None:
    """Read a damaged table of RSNA; a box must stand in a row of target 1, with four numbers in their order."""
    rows = [["f0", "5", "6", "30", "40", "1"], ["f0", "50", "6", "20", "30", "1"], ["f1", "", "", "", "", "0"]]
    for _ in range(draw.randint(1, 3)):
        row = draw.choice(rows)
        kind = draw.randrange(4)
        if kind == 0 and row:
            row[draw.randrange(len(row))] = draw.choice(("", "nan", "x", "-7", "inf", "1.5", "2", "True"))
        elif kind == 1 and row:
            del row[draw.randrange(len(row))]
        elif kind == 2:
            rows.append(list(row))
        else:
            row.append("more")
    allowed = []
    for row in rows:
        with contextlib.suppress(ValueError, IndexError):
            x, y, width, height = map(float, row[1:5])
            if all(map(math.isfinite, (x, y, width, height))) and min(width, height) >= 0 and row[5] == "1":
                allowed.append((x, y, x + width, y + height))
    text = "\n".join(",".join(row) for row in [["patientId", "x", "y", "width", "height", "Target"], *rows])
    (folder / "stage_2_train_labels.csv").write_text(text)
    _check(_boxes(read_rsna(folder, images=folder)), allowed, text)


def _boxes(table: SampleTable) -> list[Corners]:
    """The boxes that training and conversion take; both count those whose edges are exchanged and leave them out."""
    found = [box for sample in table for box in sample.boxes if not box.is_reversed]
    return [(box.left, box.top, box.right, box.bottom) for box in found]


def _check(found: list[Corners], allowed: list[Corners], source: object) -> None:
    strangers = [box for box in found if not any(np.allclose(box, each, atol=1e-3) for each in allowed)]
    assert not strangers, f"silent boxes {strangers} of {source!r}"


def mutate_coco(draw: random.Random, _: Path) -> None:
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


KINDS: tuple[Callable[[random.Random, Path], None], ...] = (
    mutate_table,
    mutate_table,
    mutate_yolo,
    mutate_kitti,
    mutate_coco,
    mutate_voc,
    mutate_rsna,
)


READ, REFUSED, SILENT, TRACEBACK = "read as meant", "refused in a sentence", "silent classes or boxes", "tracebacks"


def outcomes(count: int, seed: int, faults: list[str] | None = None) -> Counter[str]:
    """How many files ended in which way; what is silent and what ends in a traceback is described in ``faults``."""
    draw = random.Random(seed)
    found: Counter[str] = Counter(dict.fromkeys((READ, REFUSED, SILENT, TRACEBACK), 0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(FILMS):
            (folder / f"f{number}.png").touch()
        for number in range(count):
            try:
                KINDS[number % len(KINDS)](draw, folder)
                found[READ] += 1
            except XrayclsError:
                found[REFUSED] += 1
            except Exception as error:
                found[SILENT if isinstance(error, AssertionError) else TRACEBACK] += 1
                if faults is not None:
                    faults.append(f"{type(error).__name__}: {error}")
    return found


def main() -> None:
    """Print how the files ended; exit code 1 where one ended otherwise than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    given = parser.parse_args()
    logging.getLogger("xraycls").setLevel(logging.ERROR)
    faults: list[str] = []
    for outcome, times in outcomes(given.count, given.seed, faults).items():
        print(f"{times:>6,} {outcome}")
    if faults:
        raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    main()
