"""Run an exported file over pictures, without torch, while the next ones are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal

import numpy as np

from xraycls.data.depth import with_bits
from xraycls.data.image import GreyImage
from xraycls.data.open import open_image
from xraycls.data.processors import available_processors
from xraycls.errors import DataError, RunError
from xraycls.evaluation.cases import FloatArray
from xraycls.inference.adjust import Adjustment, adjusted_probabilities
from xraycls.inference.exported import ExportedFile, find_exported
from xraycls.inference.inputs import samples_of
from xraycls.inference.results import Decisions, Output, Result, overlapped
from xraycls.inference.runtimes import Arrays, Session, open_session
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.render import render
from xraycls.loaders.views import Floats
from xraycls.types import Detections, Sample

if TYPE_CHECKING:
    from xraycls.data.table import SampleTable
    from xraycls.inference.inputs import Picture


@dataclass(frozen=True, slots=True)
class ExportedModel(Decisions):
    """An exported file, ready to compute.

    Attributes:
        path: the file.
        file: its description.
        session: what computes it.
        adjustments: what is done to its probabilities, in order; thresholds are of the last.
    """

    path: Path
    file: ExportedFile
    session: Session
    adjustments: tuple[Adjustment, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the outputs."""
        return self.file.classes

    @property
    def network(self) -> str:
        """The network's name."""
        return self.file.network

    @property
    def threshold(self) -> float | None:
        """The operating threshold of two classes; None without one."""
        return self.file.threshold

    @property
    def multi_label(self) -> bool:
        """Whether an image may show several of the classes, which are findings then."""
        return self.file.thresholds is not None

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """Of a classifier of findings, from which each is called; else None."""
        return self.file.thresholds

    @property
    def prevalence(self) -> dict[str, float]:
        """Of each class or finding in its training; empty when unknown."""
        return self.file.prevalence

    @property
    def reported(self) -> float | None:
        """Score from which detections are reported; None where it wasn't chosen on validation."""
        return self.file.threshold

    @property
    def weights(self) -> Path:
        """The file."""
        return self.path

    @property
    def run(self) -> None:
        """No run folder: an exported folder is on its own."""
        return

    def run_on(self, images: Iterable[GreyImage]) -> Arrays:
        """Returns the outputs for pictures uint8 [H, W], by name."""
        return self.session.run(self.file.input_of(np.stack(list(images))[:, None]))

    def probabilities(self, outputs: Arrays, views: Floats) -> list[FloatArray]:
        """Returns the probabilities of each picture, float64 [C]; arguments as of :func:`read_probabilities`."""
        found = read_probabilities(outputs, views, multi_label=self.multi_label)
        return list(adjusted_probabilities(np.stack(found), self.adjustments, multi_label=self.multi_label))


def load_exported(
    name: str | Path,
    kind: Literal["classifier", "detector"],
    *,
    runtime: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    device: str = "auto",
    pictures: int | None = None,
) -> ExportedModel:
    """Returns an exported model.

    Args:
        name: its folder or file.
        kind: what it has to be.
        runtime: see :func:`session_of`, as of the others.
        precision: likewise.
        threads: likewise.
        device: likewise.
        pictures: likewise.

    Raises:
        RunError: there is no such model, it was changed, or it is of the other kind.
        UsageError: the runtime can't compute so.
        MissingExtra: the runtime isn't installed.
    """
    path, file = find_exported(name)
    if file.kind != kind:
        raise RunError(f"{path} is a {file.kind} and no {kind}")
    settings: dict[str, Any] = {"precision": precision, "threads": threads, "device": device, "pictures": pictures}
    session = session_of(path, file, runtime, **settings)
    return ExportedModel(path, file, session)


def session_of(
    path: Path,
    file: ExportedFile,
    runtime: str = "auto",
    *,
    precision: str = "auto",
    threads: int | None = None,
    device: str = "auto",
    pictures: int | None = None,
) -> Session:
    """Returns what computes an exported file.

    Args:
        path: the file.
        file: its description.
        runtime: "tensorrt" for the engine that was built of it, never chosen by "auto"; the others, as all further
            arguments and errors, are those of :func:`~xraycls.inference.runtimes.open_session`.
        precision: likewise.
        threads: likewise.
        device: likewise.
        pictures: likewise.

    Raises:
        RunError: the file has no engine, or one that isn't for this machine; or only TensorRT computes it.
    """
    wanted = "auto" if precision == file.precision else precision
    if runtime == "tensorrt":
        from xraycls.inference.tensorrt_runtime import open_engine  # which imports torch

        return open_engine(path, file, precision=wanted, device=device)
    if file.form == "trt":
        raise RunError(
            f"{path} has the form trt, which only TensorRT computes", "Choose --runtime tensorrt, or export --form nms"
        )
    return open_session(path, runtime, precision=wanted, threads=threads, device=device, pictures=pictures)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedPredictor(Generic[Output]):
    """As :class:`~xraycls.inference.predictor.Predictor`, of an exported model.

    Args:
        model: a loaded model.
        read: gives one output a picture, of the model's outputs and the views float64 [B, 2, 3] that were drawn.
        batch_size: pictures at a time.
        threads: that read pictures; None for one a processor.
        strict: raise DataError at the first picture that can't be read, instead of a result with an error.
        recipe: how pictures are rendered, instead of as the file says.
    """

    model: ExportedModel
    read: Callable[[Arrays, Floats], list[Output]]
    batch_size: int = 64
    threads: int | None = None
    strict: bool = False
    recipe: ViewRecipe | None = None

    def __call__(self, pictures: Picture | Iterable[Picture]) -> Iterator[Result[Output]]:
        """Returns an iterator over the results for any pictures, as :func:`~xraycls.inference.inputs.samples_of`."""
        samples = with_bits(samples_of(pictures), self.model.file.bits)
        return self._results(enumerate(samples))

    def over(self, table: SampleTable) -> Iterator[Result[Output]]:
        """Returns an iterator over the results for the samples of a table."""
        return self._results(enumerate(table))

    def _results(self, samples: Iterable[tuple[int, Sample]]) -> Iterator[Result[Output]]:
        drawn = overlapped(samples, self._drawn, threads=max(self.threads or available_processors(), 1))
        while batch := list(islice(drawn, self.batch_size)):
            readable = [(image, matrix) for _, _, image, matrix in batch if not isinstance(image, DataError)]
            outputs = iter(self._outputs(readable))
            for index, sample, image, _ in batch:
                if isinstance(image, DataError):
                    yield Result(index, sample, None, None, image.message)
                else:
                    yield Result(index, sample, next(outputs), image)

    def _outputs(self, pictures: list[tuple[GreyImage, Floats]]) -> list[Output]:
        if not pictures:
            return []
        found = self.model.run_on(image for image, _ in pictures)
        return self.read(found, np.stack([matrix for _, matrix in pictures]))

    def _drawn(self, numbered: tuple[int, Sample]) -> tuple[int, Sample, GreyImage | DataError, Floats]:
        index, sample = numbered
        recipe = self.recipe or self.model.file.recipe
        try:
            image = open_image(sample)
            view = recipe.evaluation_views((image.width, image.height))[0]
            return index, sample, render(image, view, recipe.canvas), view.matrix
        except DataError as error:
            if self.strict:
                raise
            return index, sample, error, np.zeros((2, 3))


def read_probabilities(outputs: Arrays, views: Floats, *, multi_label: bool = False) -> list[FloatArray]:
    """Returns the probabilities of each picture, float64 [C].

    Args:
        outputs: of the model.
        views: that were drawn.
        multi_label: whether logits are of findings, of which a picture may show several.
    """
    if "probabilities" in outputs:
        return list(outputs["probabilities"].astype(np.float64))
    logits = outputs["logits"].astype(np.float64)
    if multi_label:
        return list(np.exp(-np.logaddexp(0.0, -logits)))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return list(powers / powers.sum(axis=1, keepdims=True))


def read_detections(file: ExportedFile, *, source: bool = True) -> Callable[[Arrays, Floats], list[Detections]]:
    """Returns what reads detections, in pixels of the pictures' files (``source``) or of the input."""
    from xraycls.inference.exported_detections import detections_of  # no classifier needs it

    def read(outputs: Arrays, views: Floats) -> list[Detections]:
        found = detections_of(outputs, file)
        return [each.mapped(view) for each, view in zip(found, views, strict=True)] if source else found

    return read
