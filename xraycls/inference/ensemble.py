"""Several classifiers as one: the mean of their probabilities; imports no torch by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from xraycls.data.class_names import plain_class
from xraycls.errors import UsageError
from xraycls.evaluation.cases import FloatArray
from xraycls.inference.inputs import samples_of
from xraycls.inference.results import Result, at_threshold, decide, most_likely, predictions_of
from xraycls.types import Prediction

if TYPE_CHECKING:
    from xraycls.data.table import SampleTable
    from xraycls.inference.classification import TrainedModel
    from xraycls.inference.exported_predictor import ExportedModel, ExportedPredictor
    from xraycls.inference.inputs import Picture
    from xraycls.inference.predictor import Predictor
    from xraycls.training.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Classifiers of the same classes, or of the same findings, whose probabilities are averaged.

    The operating threshold is the mean of those that the members chose on validation.

    Attributes:
        members: two or more.
    """

    members: tuple[TrainedModel | ExportedModel, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the first member's outputs."""
        return self.members[0].classes

    @property
    def network(self) -> str:
        """The networks' names."""
        return "+".join(member.network for member in self.members)

    @property
    def multi_label(self) -> bool:
        """Whether an image may show several of the classes, which are findings then."""
        return self.members[0].multi_label

    @property
    def threshold(self) -> float | None:
        """The mean operating threshold of two classes; None where a member has none."""
        chosen = [member.threshold for member in self.members]
        known = [each for each in chosen if each is not None]
        return float(np.mean(known)) if len(known) == len(chosen) else None

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """Of findings, the mean threshold of each; else None."""
        chosen = [np.asarray(m.thresholds)[_order(m, self.classes)] for m in self.members if m.thresholds is not None]
        return tuple(np.mean(chosen, axis=0).tolist()) if chosen else None

    @property
    def weights(self) -> str:
        """The files of the members."""
        return ", ".join(str(member.weights) for member in self.members)

    @property
    def run(self) -> RunFolder | None:
        """The run of the first member, whose data are taken where no others are named."""
        return self.members[0].run

    def at_threshold(self) -> str:
        """Returns " at threshold 0.422", to stand behind the class that was decided for; "" without a threshold."""
        return at_threshold(self.threshold)

    def decide(self, probabilities: FloatArray) -> int:
        """Returns the class index that probabilities [C] mean; of findings the one highest above its threshold."""
        if self.thresholds is not None:
            return most_likely(probabilities, self.thresholds)
        return decide(probabilities, self.threshold)

    def predictions(self, results: Iterable[Result[FloatArray]]) -> Iterator[Prediction]:
        """Returns an iterator with one :class:`~xraycls.types.Prediction` a result."""
        return predictions_of(results, self.threshold, self.thresholds)


def ensemble_of(members: Iterable[TrainedModel | ExportedModel]) -> Ensemble:
    """Returns classifiers as one.

    Raises:
        UsageError: they tell other classes apart.
    """
    first, *others = members
    for other in others:
        same = {plain_class(name) for name in other.classes} == {plain_class(name) for name in first.classes}
        if not same or other.multi_label != first.multi_label:
            raise UsageError(
                f"{other.weights} tells {_told(other)}, and {first.weights} {_told(first)}",
                "Members of an ensemble know the same classes",
            )
    return Ensemble((first, *others))


@dataclass(frozen=True, slots=True)
class EnsemblePredictor:
    """As :class:`~xraycls.inference.predictor.Predictor`, of an ensemble: each member sees each picture.

    Args:
        model: the ensemble.
        predictors: one a member.
    """

    model: Ensemble
    predictors: tuple[Predictor[FloatArray] | ExportedPredictor[FloatArray], ...]

    def __call__(self, pictures: Picture | Iterable[Picture]) -> Iterator[Result[FloatArray]]:
        """Returns an iterator over the results for any pictures, as :func:`~xraycls.inference.inputs.samples_of`."""
        samples = samples_of(pictures)
        return self._means(lambda predictor: predictor(samples))

    def over(self, table: SampleTable) -> Iterator[Result[FloatArray]]:
        """Returns an iterator over the results for the samples of a table."""
        return self._means(lambda predictor: predictor.over(table))

    def _means(
        self, run: Callable[[Predictor[FloatArray] | ExportedPredictor[FloatArray]], Iterator[Result[FloatArray]]]
    ) -> Iterator[Result[FloatArray]]:
        orders = [_order(member, self.model.classes) for member in self.model.members]
        for results in zip(*map(run, self.predictors), strict=True):
            outputs = [r.output[order] for r, order in zip(results, orders, strict=True) if r.output is not None]
            if len(outputs) < len(results):
                yield next(result for result in results if result.output is None)
            else:
                yield replace(results[0], output=np.mean(outputs, axis=0))


def _order(member: TrainedModel | ExportedModel, classes: tuple[str, ...]) -> list[int]:
    """Where the output of each class stands in those of a member."""
    own = [plain_class(name) for name in member.classes]
    return [own.index(plain_class(name)) for name in classes]


def _told(member: TrainedModel | ExportedModel) -> str:
    return f"{'the findings' if member.multi_label else 'the classes'} {', '.join(member.classes)}"
