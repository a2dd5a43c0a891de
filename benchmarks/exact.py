"""An exact rendering of a view by Pillow alone: full decode, then area averages of a fine grid of samples."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from xraycls.data.open import open_image
from xraycls.data.table import SampleTable
from xraycls.loaders.engine import Engine
from xraycls.loaders.views import View

Pictures = npt.NDArray[np.float64]


def exact_rendering(path: Path, view: View, size: int) -> Pictures:
    """The picture as float64 [size, size]: every output pixel is the mean of a grid of bilinear samples.

    The grid is at least twice as fine as the source pixels, so the area that an output pixel covers is integrated,
    whatever the scale; black outside the image. Grey levels change on the mean, as in the engines.
    """
    fine = max(4, 2 * math.ceil(np.linalg.svd(view.matrix[:, :2], compute_uv=False)[0]))
    with Image.open(path) as image:
        grey = image.convert("L").convert("F")  # of "L", Pillow would cut every sample down to a whole grey level
    matrix = view.matrix / np.array([fine, fine, 1.0])
    samples = grey.transform(
        (size * fine, size * fine), Image.Transform.AFFINE, tuple(matrix.ravel()), Image.Resampling.BILINEAR
    )
    mean = np.asarray(samples, np.float64).reshape(size, fine, size, fine).mean(axis=(1, 3)) / 255.0
    changed = (mean**view.gamma - 0.5) * view.contrast + 0.5 + view.brightness
    return np.asarray(np.clip(changed, 0.0, 1.0) * 255.0)


def exact_pictures(loader: Engine, originals: SampleTable, count: int) -> Pictures:
    """What the first ``count`` pictures of a training engine's epoch 0 should be, float64 [count, S, S].

    Args:
        loader: whose sampler and recipe are followed.
        originals: the files, in the order of the loader's table.
        count: how many.
    """
    recipe, sampler = loader.recipe, loader.index_sampler
    drawn = ((i, p) for batch in sampler.batches(0) for i, p in zip(batch.indices, batch.positions, strict=True))
    pictures = []
    for index, position in islice(drawn, count):
        sample = originals[int(index)]
        image = open_image(sample)
        view = recipe.training_view(sampler.seed, 0, int(position), image.width, image.height)
        pictures.append(exact_rendering(sample.path, view, recipe.size))
    return np.stack(pictures)


def difference(loader: Engine, exact: Pictures) -> dict[str, float]:
    """How the first pictures of an engine's epoch 0 differ from the exact ones, in grey levels.

    Returns:
        "mean" and "worst": the absolute difference over all pixels, and of the picture where it is largest; "bias":
        the mean of the signed difference, near 0 unless something rounds one way.
    """
    loader.set_epoch(0)
    batches = math.ceil(len(exact) / loader.index_sampler.batch_size)
    drawn = np.concatenate([batch.images[:, 0].cpu().numpy() for batch in islice(loader, batches)])[: len(exact)]
    signed = drawn - exact
    each = np.abs(signed).mean(axis=(1, 2))
    return {"mean": float(each.mean()), "worst": float(each.max()), "bias": float(signed.mean())}
