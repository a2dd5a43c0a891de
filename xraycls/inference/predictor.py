"""Run a model over pictures, while the next ones are read and the last ones written."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch

from xraycls.data.depth import one_depth
from xraycls.data.table import SampleTable
from xraycls.inference.inputs import samples_of
from xraycls.inference.results import Output, Result
from xraycls.loaders.cache import PictureCache
from xraycls.loaders.choose import build_loader, choose_engine, notice
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.training.memory import explained_out_of_memory
from xraycls.training.precision import Precision, autocast, validated_precision
from xraycls.types import Batch

if TYPE_CHECKING:
    from xraycls.inference.inputs import Picture

logger = logging.getLogger(__name__)

OutputOf = TypeVar("OutputOf", covariant=True)


class Model(Protocol[OutputOf]):
    """A trained model, whatever computes it.

    Attributes:
        classes: names, in the order of its outputs.
        recipe: how its pictures are rendered.
        engine: the engine that fed its training; None when unknown.
        device: where it takes its pictures.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def recipe(self) -> ViewRecipe: ...  # noqa: D102
    @property
    def engine(self) -> str | None: ...  # noqa: D102
    @property
    def precision(self) -> str | None: ...  # noqa: D102
    @property
    def device(self) -> torch.device: ...  # noqa: D102

    def launch(self, images: torch.Tensor) -> Any:
        """Start computing on uint8 [B, 1, H, W]; a GPU need not have finished when this returns."""

    def outputs(self, raw: Any, batch: Batch, names: Sequence[str]) -> Sequence[OutputOf]:
        """What :meth:`launch` gave, as one output a picture; names are for errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor(Generic[Output]):
    """A model, the recipe of its pictures and the engine that draws them.

    Results come in the order of the pictures, as soon as they are there: threads read and draw the next pictures while
    the model computes.

    Args:
        model: a loaded model, as :func:`xraycls.inference.load.load_model` returns it.
        batch_size: pictures at a time.
        precision: "bf16", "fp16", "fp32", or "auto" for the one that the model was validated in; see
            :func:`~xraycls.training.precision.validated_precision`.
        loader: an engine of :data:`xraycls.loaders.choose.ENGINES`.
        threads: that read pictures; None for one a processor.
        strict: raise DataError at the first picture that can't be read, instead of a result with an error.
        keep_inputs: whether results hold the pictures that the model saw.
        cache: decoded pictures of a training on the same canvas, which :meth:`over` takes instead of their files.
    """

    model: Model[Output]
    batch_size: int = 64
    precision: str = "auto"
    loader: str = "auto"
    threads: int | None = None
    strict: bool = False
    keep_inputs: bool = False
    cache: PictureCache | None = None

    def __call__(self, pictures: Picture | Iterable[Picture]) -> Iterator[Result[Output]]:
        """Returns an iterator over the results for any pictures, as :func:`~xraycls.inference.inputs.samples_of`.

        Raises:
            UsageError: something that is no picture.
            DataError: no picture at all.
            TrainingError: out of memory.
        """
        samples = list(samples_of(pictures))
        samples = list(one_depth(samples, samples[0].path.parent, getattr(self.model, "bits", None)))
        return self.over(SampleTable(tuple(samples), self.model.classes, Path.cwd(), "files"))

    def over(self, table: SampleTable) -> Iterator[Result[Output]]:
        """Returns an iterator over the results for the samples of a table; raises errors as a call does."""
        device = self.model.device
        precision = validated_precision(self.precision, self.model.precision, device)
        engine = choose_engine(self.loader, table, device)
        self._log_engine(engine, device)
        launched: deque[tuple[Batch, Any]] = deque()  # a GPU computes a batch while the one before is read back
        with explained_out_of_memory(f"Try --batch-size {max(self.batch_size // 2, 1)}", self.batch_size):
            batches = build_loader(
                table,
                self.model.recipe,
                batch_size=self.batch_size,
                training=False,
                device=device,
                engine=engine,
                threads=self.threads,
                strict=self.strict,
                cache=self.cache and self.cache.of(table),
            )
            for batch in batches:
                with torch.inference_mode(), autocast(device, precision):
                    launched.append((batch, self.model.launch(batch.images.to(device, non_blocking=True))))
                if len(launched) > 1:
                    yield from self._results(table, *launched.popleft(), precision, batches.failures)
            while launched:
                yield from self._results(table, *launched.popleft(), precision, batches.failures)

    def _results(
        self, table: SampleTable, batch: Batch, raw: Any, precision: Precision, failures: dict[str, str]
    ) -> Iterator[Result[Output]]:
        with torch.inference_mode(), autocast(self.model.device, precision):
            names = [table[index].name for index in batch.indices.tolist()]
            outputs = self.model.outputs(raw, batch, names)
        inputs = batch.images.cpu().numpy() if self.keep_inputs else None
        readable = batch.weights.tolist()
        for row, index in enumerate(batch.indices.tolist()):
            sample = table[index]
            if readable[row]:
                yield Result(index, sample, outputs[row], None if inputs is None else inputs[row, 0])
            else:
                yield Result(index, sample, None, None, failures[sample.name])

    def _log_engine(self, engine: str, device: torch.device) -> None:
        if said := notice(engine, device):
            logger.info(said)
        if self.model.engine not in (None, engine):
            logger.info(
                "The model was trained with pictures of the %s engine and now sees those of %s, which agree to about a"
                " grey level; xraycls bench parity measures it on your data.",
                self.model.engine,
                engine,
            )
