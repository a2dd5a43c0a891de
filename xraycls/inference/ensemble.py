"""Several classifiers as one: the mean of their probabilities; imports no torch by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from xraycls.data.class_names import plain_class
from xraycls.errors import UsageError
from xraycls.evaluation.cases import FloatArray
from xraycls.inference.adjust import Adjustment
from xraycls.inference.inputs import samples_of
from xraycls.inference.results import Decisions, Result

if TYPE_CHECKING:
    from xraycls.data.table import SampleTable
    from xraycls.inference.classification import TrainedModel
    from xraycls.inference.exported_predictor import ExportedModel
    from xraycls.inference.inputs import Picture
    from xraycls.training.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Ensemble(Decisions):
    """Classifiers of the same classes, or of the same findings, whose probabilities are averaged.

    Attributes:
        members: two or more.
        shares: how much each counts in the mean, not negative, with the sum 1.
        threshold: the operating threshold of two classes; None without one.
        thresholds: of findings, from which each is called; else None.
    """

    members: tuple[TrainedModel | ExportedModel, ...]
    shares: tuple[float, ...]
    threshold: float | None
    thresholds: tuple[float, ...] | None

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
    def orders(self) -> tuple[list[int], ...]:
        """Where the output of each class stands in those of each member."""
        return tuple(_order(member, self.classes) for member in self.members)

    @property
    def weights(self) -> str:
        """The files of the members."""
        return ", ".join(str(member.weights) for member in self.members)

    @property
    def run(self) -> RunFolder | None:
        """The run of the first member, whose data are taken where no others are named."""
        return self.members[0].run

    @property
    def adjustments(self) -> tuple[Adjustment, ...]:
        """What is done to the probabilities of the members."""
        return tuple(each for member in self.members for each in member.adjustments)


def ensemble_of(members: Iterable[TrainedModel | ExportedModel], shares: Sequence[float] | None = None) -> Ensemble:
    """Returns classifiers as one, called from the mean of the thresholds that its members chose on validation.

    Args:
        members: two or more.
        shares: how much each counts, with the sum 1; None for the same of each.

    Raises:
        UsageError: they tell other classes apart.
    """
    known = tuple(members)
    first, *others = known
    for other in others:
        same = {plain_class(name) for name in other.classes} == {plain_class(name) for name in first.classes}
        if not same or other.multi_label != first.multi_label:
            raise UsageError(
                f"{other.weights} tells {_told(other)}, and {first.weights} {_told(first)}",
                "Name models of the same classes or findings; others predict one by one",
            )
    parts = tuple(shares or (1 / len(known),) * len(known))
    single = [member.threshold for member in known if member.threshold is not None]
    several = [np.asarray(m.thresholds)[_order(m, first.classes)] for m in known if m.thresholds is not None]
    return Ensemble(
        known,
        parts,
        float(np.dot(parts, single)) if len(single) == len(known) else None,
        tuple(np.dot(parts, several).tolist()) if len(several) == len(known) else None,
    )


def called_from(ensemble: Ensemble, threshold: float | None, thresholds: Mapping[str, float]) -> Ensemble:
    """Returns an ensemble with thresholds that were chosen for its mean, in place of the mean of its members'.

    Args:
        ensemble: of classes or of findings.
        threshold: of two classes; None keeps what there is.
        thresholds: of findings by name; others keep theirs.
    """
    if ensemble.thresholds is None:
        return ensemble if threshold is None else replace(ensemble, threshold=threshold)
    own = zip(ensemble.classes, ensemble.thresholds, strict=True)
    return replace(ensemble, thresholds=tuple(thresholds.get(name, before) for name, before in own))


class ProbabilityPredictor(Protocol):
    """What gives the probabilities float64 [C] of pictures, such as :class:`~xraycls.inference.predictor.Predictor`."""

    def __call__(self, pictures: Picture | Iterable[Picture]) -> Iterator[Result[FloatArray]]:
        """Returns an iterator over the results for any pictures, as :func:`~xraycls.inference.inputs.samples_of`."""

    def over(self, table: SampleTable) -> Iterator[Result[FloatArray]]:
        """Returns an iterator over the results for the samples of a table."""


@dataclass(frozen=True, slots=True)
class AveragedPredictor:
    """The weighted mean of what several predictors say of each picture, and their standard deviation about it.

    Args:
        predictors: one a member of an ensemble, or one a view of test-time augmentation.
        shares: how much each counts, with the sum 1.
        orders: where the output of each class stands in those of each; empty where all have the same order.
    """

    predictors: tuple[ProbabilityPredictor, ...]
    shares: tuple[float, ...]
    orders: tuple[list[int], ...] = ()

    def __call__(self, pictures: Picture | Iterable[Picture]) -> Iterator[Result[FloatArray]]:
        """Returns an iterator over the results for any pictures, as :func:`~xraycls.inference.inputs.samples_of`."""
        samples = samples_of(pictures)
        return self._means(predictor(samples) for predictor in self.predictors)

    def over(self, table: SampleTable) -> Iterator[Result[FloatArray]]:
        """Returns an iterator over the results for the samples of a table."""
        return self._means(predictor.over(table) for predictor in self.predictors)

    def _means(self, each: Iterable[Iterator[Result[FloatArray]]]) -> Iterator[Result[FloatArray]]:
        for results in zip(*each, strict=True):
            outputs = [result.output for result in results if result.output is not None]
            if len(outputs) < len(results):
                yield next(result for result in results if result.output is None)
                continue
            if self.orders:
                outputs = [output[order] for output, order in zip(outputs, self.orders, strict=True)]
            mean, spread = mean_and_spread(np.stack(outputs), self.shares)
            yield replace(results[0], output=mean, spread=spread)


def mean_and_spread(values: FloatArray, shares: Sequence[float]) -> tuple[FloatArray, FloatArray]:
    """Returns the weighted mean of [m, ...] along the first axis, and the standard deviation about it, [...].

    The deviation is that of the members themselves, not an estimate for others: the square root of the weighted mean of
    squares. Two members of equal weight that say 0.6 and 0.8 have 0.1.

    Example:
        >>> import numpy as np
        >>> mean, spread = mean_and_spread(np.array([[0.6], [0.8]]), (0.5, 0.5))
        >>> mean.round(3).tolist(), spread.round(3).tolist()
        ([0.7], [0.1])
    """
    mean = np.tensordot(np.asarray(shares), values, axes=1)
    return mean, np.sqrt(np.tensordot(np.asarray(shares), np.square(values - mean), axes=1))


def _order(member: TrainedModel | ExportedModel, classes: tuple[str, ...]) -> list[int]:
    """Where the output of each class stands in those of a member."""
    own = [plain_class(name) for name in member.classes]
    return [own.index(plain_class(name)) for name in classes]


def _told(member: TrainedModel | ExportedModel) -> str:
    return f"{'the findings' if member.multi_label else 'the classes'} {', '.join(member.classes)}"
