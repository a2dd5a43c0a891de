"""Pictures that 8-bit ranges are chosen on: of the training split, or of other data, and never of a test."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xraycls.data.identity import identities, known_among
from xraycls.data.open import open_image
from xraycls.data.source import read_table
from xraycls.errors import DataError, UsageError
from xraycls.inference.inputs import samples_of
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.render import render
from xraycls.types import Sample

logger = logging.getLogger(__name__)

COUNT = 500
"""Pictures that are taken unless told otherwise."""


def calibration_pictures(
    samples: Sequence[Sample],
    recipe: ViewRecipe,
    count: int,
    tested: Sequence[Sample] = (),
    flag: str = "--calibration-images",
) -> npt.NDArray[np.uint8]:
    """Returns pictures as a model takes them, uint8 [count, 1, H, W], spread over the classes as the samples are.

    Args:
        samples: to take them of, see :func:`samples_to_calibrate`.
        recipe: that renders them, as for evaluation.
        count: how many.
        tested: the samples of the model's own test, none of which may be among them.
        flag: that says how many, for errors.

    Raises:
        UsageError: there are fewer, or one of them is of the test.
    """
    by_class = sorted(range(len(samples)), key=lambda row: -1 if (label := samples[row].label) is None else label)
    if count < 1 or len(samples) < count:
        raise UsageError(
            f"Calibration wants {count} pictures, and there are {len(samples)}",
            f"Give more of them, or a smaller number with {flag}",
        )
    chosen = [samples[by_class[row]] for row in np.linspace(0, len(samples) - 1, count).round().astype(int)]
    if tested:
        _refuse_tested(chosen, tested)
    found = []
    for sample in chosen:
        try:
            image = open_image(sample)
            found.append(render(image, recipe.evaluation_views((image.width, image.height))[0], recipe.canvas))
        except DataError as error:
            logger.warning("%s; it is left out of the calibration.", error.message)
    if len(found) < count:
        raise UsageError(
            f"Calibration wants {count} pictures, and {count - len(found)} of those chosen can't be read",
            f"Remove them, or give a smaller number with {flag}",
        )
    return np.stack(found)[:, None]


def samples_to_calibrate(data: Path) -> list[Sample]:
    """Returns the samples of data in any format: the training split where there is one, and never the test split.

    Raises:
        DataError: there are no pictures.
    """
    try:
        table = read_table(data)
    except DataError:
        return samples_of(data)  # pictures without labels
    if "train" in table.splits:
        return list(table.split("train"))
    left = [sample for sample in table if sample.split != "test"]
    if not left:
        raise UsageError(f"All pictures of {data} are of a test split", "Calibrate on pictures that no test needs")
    return left


def _refuse_tested(chosen: Sequence[Sample], tested: Sequence[Sample]) -> None:
    known = known_among(identities(chosen), identities(tested))
    if known.any():
        first = chosen[int(np.flatnonzero(known)[0])]
        raise UsageError(
            f"{int(known.sum())} of {len(chosen)} calibration pictures are of the model's test split: {first.name}",
            "Calibrate on training pictures: leave out --calibration",
        )
