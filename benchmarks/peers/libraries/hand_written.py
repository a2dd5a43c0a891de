"""What an engineer would write by hand: small pictures in memory, and one OpenCV warp straight into the batch.

The draws and the warp also serve peers that only store pictures and bring no augmentation: they get the fastest
there is.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.peers.task import KEPT, SIZE, Epochs, Task, as_asked

Picture = npt.NDArray[np.uint8]

_REDUCED = {2: cv2.IMREAD_REDUCED_GRAYSCALE_2, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 8: cv2.IMREAD_REDUCED_GRAYSCALE_8}


def in_memory(task: Task) -> Epochs:
    """Pictures of 320 pixels in memory; two threads draw the halves of every batch."""
    pictures, pool = small_pictures(task.files, task.workers), ThreadPoolExecutor(task.workers)

    def draw(rows: Picture, indices: Sequence[int]) -> None:
        for row, index in zip(rows, indices, strict=True):
            warp(pictures[index], row)

    def epoch() -> Iterator[torch.Tensor]:
        order = random.sample(range(len(pictures)), len(pictures))
        for start in range(0, len(order), task.batch_size):
            chosen = order[start : start + task.batch_size]
            batch = np.empty((len(chosen), 1, SIZE, SIZE), np.uint8)
            parts = range(task.workers)
            rows = [batch[part :: task.workers, 0] for part in parts]
            list(pool.map(draw, rows, [chosen[part :: task.workers] for part in parts]))
            yield as_asked(torch.from_numpy(batch), task)

    return epoch


def small_pictures(files: Sequence[Path], threads: int) -> list[Picture]:
    """Grey pictures [320, 320] of files, decoded at the lowest resolution of the JPEG that has so many pixels."""
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(small_picture, files))


def small_picture(file: Path) -> Picture:
    """One grey picture [320, 320] of a file."""
    with Image.open(file) as image:
        side = min(image.size)
    scale = max((scale for scale in _REDUCED if side >= scale * KEPT), default=1)
    return shrunk(cv2.imread(str(file), _REDUCED.get(scale, cv2.IMREAD_GRAYSCALE)))


def shrunk(picture: Picture) -> Picture:
    """A grey picture of any size at 320 × 320 pixels."""
    return np.asarray(cv2.resize(picture, (KEPT, KEPT), interpolation=cv2.INTER_AREA), np.uint8)


def augmented(picture: Picture) -> torch.Tensor:
    """A grey picture as an augmented tensor, uint8 [1, 224, 224]; for the workers of a DataLoader."""
    cv2.setNumThreads(0)
    drawn = np.empty((SIZE, SIZE), np.uint8)
    warp(picture, drawn)
    return torch.from_numpy(drawn)[None]


def warp(picture: Picture, drawn: Picture) -> None:
    """Draw the ancestor's augmentation of a picture into memory: flips, rotation, area and aspect in one affine."""
    height, width = picture.shape
    share, aspect = random.uniform(0.4, 1.0), math.exp(random.uniform(math.log(0.5), math.log(1.5)))
    across = min(math.sqrt(share * aspect), 1.0) * width
    down = min(math.sqrt(share / aspect), 1.0) * height
    x, y = random.uniform(across, width) - across / 2, random.uniform(down, height) - down / 2
    angle = math.radians(random.uniform(-25, 25))
    cosine, sine = math.cos(angle), math.sin(angle)
    step_x, step_y = (random.choice((-1, 1)) * side / SIZE for side in (across, down))
    linear = np.array([[cosine * step_x, -sine * step_y], [sine * step_x, cosine * step_y]])
    centre = linear @ np.full(2, (SIZE - 1) / 2)
    matrix = np.column_stack([linear, np.array([x, y]) - 0.5 - centre])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cv2.warpAffine(picture, matrix, (SIZE, SIZE), dst=drawn, flags=flags, borderMode=cv2.BORDER_CONSTANT)


def collated(task: Task) -> Callable[[Sequence[torch.Tensor]], torch.Tensor]:
    """A ``collate_fn``: tensors of :func:`augmented` as the batch that a task asks for."""
    return lambda items: as_asked(torch.stack(list(items)), task)
