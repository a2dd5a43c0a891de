"""Make the pictures of the README.

python examples/pictures.py phantoms
python examples/pictures.py cam RUN IMAGE... --output docs/images/cam.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

import xraycls
from xraycls.data.lettering import write_picture
from xraycls.data.open import read_grey


def phantoms(output: Path, columns: int = 6, side: int = 220) -> None:
    """A row of each class from the synthetic test split."""
    table = xraycls.phantom_table().split("test")
    rows = []
    for label in range(len(table.classes)):
        paths = [sample.path for sample in table if sample.label == label][: 2 * columns : 2]
        rows.append(np.hstack([cv2.resize(read_grey(p), (side, side), interpolation=cv2.INTER_AREA) for p in paths]))
    write_picture(np.vstack(rows), output)


def cams(run: str, images: list[Path], output: Path, width: int = 1000) -> None:
    """The explanations of some images, one below the other."""
    pictures = []
    for explanation in xraycls.cam(run, images):
        if explanation.picture is None:
            raise SystemExit(explanation.error)
        height = round(explanation.picture.shape[0] * width / explanation.picture.shape[1])
        pictures.append(cv2.resize(explanation.picture, (width, height), interpolation=cv2.INTER_AREA))
    write_picture(np.vstack(pictures), output)


def main() -> None:
    """Parse and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, dest="verb")
    drawn = verbs.add_parser("phantoms")
    drawn.add_argument("--output", type=Path, default=Path("docs/images/phantoms.jpg"))
    explained = verbs.add_parser("cam")
    explained.add_argument("run")
    explained.add_argument("images", type=Path, nargs="+")
    explained.add_argument("--output", type=Path, default=Path("docs/images/cam.jpg"))
    given = parser.parse_args()
    if given.verb == "phantoms":
        phantoms(given.output)
    else:
        cams(given.run, given.images, given.output)


if __name__ == "__main__":
    main()
