"""The table of what is measured: one row a pipeline, and where its functions are."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from benchmarks.peers.task import Epochs, Output, Task

Kind = Literal["seed", "peer", "hand", "ours"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A way to batches of training pictures.

    Attributes:
        loader: module of ``benchmarks.peers.libraries`` and function that sets it up for a :class:`Task`.
        package: distribution whose version the table shows; None for what is written here.
        reads: what it reads in its steady state.
        kind: the seed's own loader, a package, a loop that anybody could write, or xraycls.
        environment: of ``environments.toml``; None for the one that runs the benchmark.
        prepare: function of the same module that makes a store once.
        keeps: whether pictures are decoded once, in the first epoch or for the store.
        outputs: what it can be asked for.
        channels: of its pictures.
        most: files of an epoch at most, for pipelines whose speed doesn't depend on that and is low.
    """

    loader: str
    package: str | None
    reads: str
    kind: Kind = "peer"
    environment: str | None = None
    prepare: str | None = None
    keeps: bool = False
    outputs: tuple[Output, ...] = ("float32", "uint8")
    channels: int = 1
    most: int | None = None

    @property
    def library(self) -> str:
        """The module of ``benchmarks.peers.libraries``."""
        return self.loader.partition(".")[0]

    def set_up(self, task: Task) -> Epochs:
        """The pipeline, ready for its first epoch."""
        epochs: Epochs = self._function(self.loader)(task)
        return epochs

    def make_store(self, task: Task) -> None:
        """Write the pictures in the pipeline's own format, where it has one."""
        if self.prepare is not None:
            self._function(f"{self.library}.{self.prepare}")(task)

    @staticmethod
    def _function(name: str):  # noqa: ANN205 -- of many kinds
        module, _, function = name.partition(".")
        return getattr(import_module(f"benchmarks.peers.libraries.{module}"), function)


_SMALL, _FLOATS = "320 px in memory", ("float32",)

SEED = "seed: torchvision RGB, no workers"
HAND_WRITTEN = "hand-written loop"
UNCACHED = "xraycls, --cache off"

PIPELINES: dict[str, Pipeline] = {
    SEED: Pipeline(
        loader="ancestors.torchvision",
        package="torchvision",
        reads="JPEG",
        kind="seed",
        outputs=_FLOATS,
        channels=3,
        most=120,
    ),
    "seed: torchvision RGB, workers": Pipeline(
        loader="ancestors.torchvision_workers",
        package="torchvision",
        reads="JPEG",
        kind="seed",
        outputs=_FLOATS,
        channels=3,
    ),
    "seed: DALI graph, CPU": Pipeline(
        loader="ancestors.dali",
        package="nvidia-dali-cuda120",
        reads="JPEG",
        kind="seed",
        outputs=_FLOATS,
        channels=3,
        most=60,
    ),
    "torchvision, grey": Pipeline(loader="torchvision.grey", package="torchvision", reads="JPEG"),
    "timm, grey": Pipeline(loader="timm.loader", package="timm", reads="JPEG"),
    "fastai, grey": Pipeline(
        loader="fastai.loader", package="fastai", reads="JPEG", environment="fastai", outputs=_FLOATS
    ),
    "albumentations, grey": Pipeline(
        loader="albumentations.from_files", package="albumentations", reads="JPEG", environment="albumentations"
    ),
    "albumentations, reduced decoding": Pipeline(
        loader="albumentations.from_files_reduced", package="albumentations", reads="JPEG", environment="albumentations"
    ),
    "albumentations, in memory": Pipeline(
        loader="albumentations.in_memory",
        package="albumentations",
        reads=_SMALL,
        environment="albumentations",
        keeps=True,
    ),
    "kornia, in memory": Pipeline(
        loader="kornia.in_memory", package="kornia", reads=_SMALL, environment="kornia", keeps=True
    ),
    "MONAI CacheDataset": Pipeline(
        loader="monai.in_memory", package="monai", reads=_SMALL, environment="monai", keeps=True
    ),
    "MONAI PersistentDataset": Pipeline(
        loader="monai.on_disk", package="monai", reads="320 px on disk", environment="monai", keeps=True
    ),
    "webdataset": Pipeline(
        loader="webdataset.loader",
        package="webdataset",
        reads="tar of JPEGs",
        environment="webdataset",
        prepare="prepare",
    ),
    "MosaicML streaming, JPEG": Pipeline(
        loader="streaming.loader",
        package="mosaicml-streaming",
        reads="MDS of JPEGs",
        environment="streaming",
        prepare="prepare_jpegs",
    ),
    "MosaicML streaming, raw": Pipeline(
        loader="streaming.loader",
        package="mosaicml-streaming",
        reads="MDS, 320 px",
        environment="streaming",
        prepare="prepare_raw",
        keeps=True,
    ),
    "litdata, raw": Pipeline(
        loader="litdata.loader",
        package="litdata",
        reads="chunks, 320 px",
        environment="litdata",
        prepare="prepare",
        keeps=True,
    ),
    "ffcv, raw": Pipeline(
        loader="ffcv.loader",
        package="ffcv",
        reads="beton, 320 px",
        environment="ffcv",
        prepare="prepare",
        keeps=True,
        channels=3,
    ),
    HAND_WRITTEN: Pipeline(
        loader="hand_written.in_memory", package="opencv-python-headless", reads=_SMALL, kind="hand", keeps=True
    ),
    UNCACHED: Pipeline(loader="ours.from_files_uncached", package=None, reads="JPEG", kind="ours"),
    "xraycls": Pipeline(loader="ours.from_files", package=None, reads="JPEG", kind="ours", keeps=True),
    "xraycls, prepared": Pipeline(
        loader="ours.prepared", package=None, reads="store, 320 px", kind="ours", prepare="prepare", keeps=True
    ),
    "xraycls, prepared, resident": Pipeline(
        loader="ours.resident", package=None, reads="store, 320 px", kind="ours", prepare="prepare", keeps=True
    ),
}
