"""The peers: the ancestor's pipeline of 2021 in torchvision and in DALI, and torchvision's second API.

All draw the ancestor's augmentation: flips ½ each, rotation ±25°, area 0.4–1, aspect 0.5–1.5, 224 pixels. A function
here builds a pipeline and gives another one that goes through one epoch and returns the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import v2

from benchmarks.peers.task import MEAN, SIZE, STD

_AHEAD = 2  # batches that DALI works on at a time: its default

Epoch = Callable[[], int]
Transform = Callable[[Image.Image], torch.Tensor]


class Files(Dataset[torch.Tensor]):
    """Files as the ancestor read them: Pillow, RGB, one transform."""

    def __init__(self, paths: Sequence[Path], transform: Transform) -> None:
        self.paths = paths
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB"))


def ancestor_transform() -> Transform:
    """The ancestor's transforms, with torchvision's defaults: rotation takes the nearest pixel."""
    return transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.RandomRotation(25),
            transforms.RandomResizedCrop(SIZE, scale=(0.4, 1.0), ratio=(0.5, 1.5)),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def v2_transform() -> Transform:
    """The same with torchvision's second API, on uint8 tensors."""
    return v2.Compose(
        [
            v2.PILToTensor(),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomRotation(25),
            v2.RandomResizedCrop(SIZE, scale=(0.4, 1.0), ratio=(0.5, 1.5), antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )


def torchvision_epoch(
    paths: Sequence[Path], transform: Transform, *, batch_size: int, workers: int, place: torch.device
) -> Epoch:
    """A DataLoader whose batches go to ``place``; worker processes stay alive between epochs."""
    loader = DataLoader(
        Files(paths, transform),
        batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=place.type == "cuda",
    )

    def run() -> int:
        return sum(len(batch.to(place, non_blocking=True)) for batch in loader)

    return run


def dali_epoch(paths: Sequence[Path], *, batch_size: int, threads: int, place: torch.device) -> Epoch:
    """An epoch of :func:`dali_batches`."""
    batches = dali_batches(paths, batch_size=batch_size, threads=threads, place=place)
    return lambda: sum(len(batch) for batch in batches())


def dali_batches(
    paths: Sequence[Path], *, batch_size: int, threads: int, place: torch.device
) -> Callable[[], Iterator[torch.Tensor]]:
    """The ancestor's DALI graph, with mixed decoding on a GPU or CPU operators; ``paths`` fill whole batches.

    The pipeline is driven by hand, so that an epoch begins and ends with nothing in work: DALI's iterators go on into
    the next epoch, at the cost of whoever is measured next. Batches reach torch without a copy, as they could not in
    2021, and are overwritten after the next one was asked for.
    """
    pipeline = _dali_graph([str(path) for path in paths], batch_size, threads, place)
    pipeline.build()
    pipeline.schedule_run()  # the first call starts all that may be in work at a time
    for _ in range(_AHEAD):
        pipeline.share_outputs()
        pipeline.release_outputs()
    batches = len(paths) // batch_size

    def epoch() -> Iterator[torch.Tensor]:
        for number in range(-_AHEAD, batches):
            if number >= 0:
                (drawn,) = pipeline.share_outputs()
                yield torch.from_dlpack(drawn.as_tensor()).to(place)
                pipeline.release_outputs()
            if number + _AHEAD < batches:
                pipeline.schedule_run()

    return epoch


def _dali_graph(files: list[str], batch_size: int, threads: int, place: torch.device) -> Any:
    from nvidia.dali import fn, pipeline_def, types

    on_gpu = place.type == "cuda"

    @pipeline_def(
        batch_size=batch_size,
        num_threads=threads,
        device_id=(place.index or 0) if on_gpu else None,
        prefetch_queue_depth=_AHEAD,
        seed=0,
    )
    def graph() -> Any:
        encoded, _ = fn.readers.file(files=files, labels=[0] * len(files), random_shuffle=True)
        image = fn.decoders.image(encoded, device="mixed" if on_gpu else "cpu", output_type=types.RGB)
        image = fn.flip(image, horizontal=fn.random.coin_flip(), vertical=fn.random.coin_flip())
        image = fn.rotate(image, angle=fn.random.uniform(range=(-25.0, 25.0)), keep_size=True, fill_value=0)
        image = fn.random_resized_crop(image, size=(SIZE, SIZE), random_area=(0.4, 1.0), random_aspect_ratio=(0.5, 1.5))
        return fn.crop_mirror_normalize(
            image,
            dtype=types.FLOAT,
            output_layout="CHW",
            mean=[255 * value for value in MEAN],
            std=[255 * value for value in STD],
        )

    return graph()
