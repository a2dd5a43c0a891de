"""A classifier that also tells what its layers make of a picture, and how far that is from the training data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from xraycls.evaluation.cases import FloatArray
from xraycls.inference.classification import TrainedModel
from xraycls.inference.results import Result
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.models.ood import OODCheck, pooled_features
from xraycls.types import Batch, Prediction


@dataclass(frozen=True, slots=True)
class Featured:
    """What a classifier makes of one picture.

    Attributes:
        probabilities: float64 [C].
        features: float32 [D] of each layer that is looked at.
    """

    probabilities: FloatArray
    features: tuple[npt.NDArray[np.float32], ...]


@dataclass(frozen=True, slots=True)
class FeaturedModel:
    """A trained classifier as a model whose outputs are :class:`Featured`.

    Attributes:
        trained: the classifier.
        layers: module paths of the layers to look at.
    """

    trained: TrainedModel
    layers: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""
        return self.trained.classes

    @property
    def recipe(self) -> ViewRecipe:
        """How its pictures are rendered."""
        return self.trained.recipe

    @property
    def engine(self) -> str | None:
        """The engine that fed its training; None when unknown."""
        return self.trained.engine

    @property
    def precision(self) -> str | None:
        """Number format that it was validated in; None when unknown."""
        return self.trained.precision

    @property
    def bits(self) -> int | None:
        """Of the grey levels in 16-bit pictures that it was trained with; None when unknown."""
        return self.trained.bits

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.trained.device

    def launch(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Returns logits [B, C] and the features [B, D] of each layer."""
        with pooled_features(self.trained.classifier, self.layers) as features:
            logits = self.trained.launch(images)
        return logits, [features[name] for name in self.layers]

    def outputs(
        self, raw: tuple[torch.Tensor, list[torch.Tensor]], batch: Batch, names: Sequence[str]
    ) -> list[Featured]:
        """Returns the probabilities and features of each picture."""
        logits, features = raw
        probabilities = self.trained.outputs(logits, batch, names)
        by_picture = zip(*(each.cpu().numpy() for each in features), strict=True)
        return [Featured(*each) for each in zip(probabilities, by_picture, strict=True)]


def checked_predictions(
    trained: TrainedModel, check: OODCheck, results: Iterable[Result[Featured]]
) -> Iterator[Prediction]:
    """Returns an iterator with one :class:`~xraycls.types.Prediction` a result, which tells its distance."""
    for result in results:
        output = result.output
        probabilities = None if output is None else output.probabilities
        plain = Result(result.index, result.sample, probabilities, None, result.error)
        (prediction,) = trained.predictions([plain])
        if output is None or prediction.error is not None:
            yield prediction
        else:
            distance = check.distances([features[None] for features in output.features])
            yield replace(prediction, distance=float(distance[0]))
