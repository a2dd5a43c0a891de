"""What each case contributes to a figure: its predicted class, its log loss, its squared error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xraycls.types import Prediction

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def predicted_classes(probabilities: FloatArray, threshold: float | FloatArray = 0.5) -> IntArray:
    """The class that each case is called.

    Args:
        probabilities: float [n, C], 0–1.
        threshold: two classes only: class 1 is called where its probability is at least this; or float64 [n], that of
            each case.

    Returns:
        int64 [n]. With three classes or more the most probable class, the first of equals.
    """
    if probabilities.shape[1] == 2:
        return (probabilities[:, 1] >= threshold).astype(np.int64)
    return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)


def log_losses(labels: IntArray, probabilities: FloatArray) -> FloatArray:
    """The negative natural logarithm of the true class's probability; float64 [n], nats, 0–36.

    Probabilities are kept at or above the machine epsilon, as scikit-learn's ``log_loss`` does.
    """
    true = probabilities[np.arange(len(labels)), labels]
    return np.negative(np.log(np.clip(true, np.finfo(np.float64).eps, 1.0)))


def squared_errors(labels: IntArray, probabilities: FloatArray) -> FloatArray:
    """What each case adds to the Brier score; float64 [n].

    Two classes: (p₁ - y)², 0–1, the form in common use. More: Σ over classes of (p - one-hot)², 0–2, the form of
    Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78 (1950).
    """
    if probabilities.shape[1] == 2:
        return np.square(probabilities[:, 1] - labels)
    return np.asarray(np.square(probabilities - np.eye(probabilities.shape[1])[labels]).sum(axis=1))


def ratio(part: FloatArray | IntArray, whole: FloatArray | IntArray) -> FloatArray:
    """Part by whole, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)


def as_arrays(predictions: Sequence[Prediction], n_classes: int) -> tuple[IntArray, FloatArray]:
    """Labels, int64 [m], -1 where unknown, and probabilities, float64 [m, C], of the m images that could be read."""
    read = [prediction for prediction in predictions if prediction.error is None]
    labels = np.array([-1 if p.label is None else p.label for p in read], dtype=np.int64)
    return labels, np.array([p.probabilities for p in read], dtype=np.float64).reshape(-1, n_classes)
