"""predictions.csv: a row for each image, with its class, its probabilities and what else is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xraycls.data.files import readable_name
from xraycls.data.rows import write_rows
from xraycls.types import Prediction


def write_predictions(
    predictions: Sequence[Prediction], classes: Sequence[str], path: Path, adjusted: str = ""
) -> Path:
    """Write a CSV: name, label, predicted, a probability a class as ``p_<class>``, error; UTF-8, a row an image.

    Where probabilities are means, their standard deviation over the members or views stands behind them: of the class
    that was called as ``uncertainty``, or of each finding as ``uncertainty_<finding>``.

    Labels are class names, or findings separated by bars. A field is empty where it is unknown; probabilities keep nine
    digits, all of a float32.
    Where the pictures were held against the training data, ``unlike_training_data`` (yes or no) and ``distance`` stand
    before the error; in the test of an ensemble, so does ``seen``: whether a member was trained or chosen with it; and
    ``adjusted``, what was done to the probabilities, where something was.

    Raises:
        XrayclsError: the file can't be written.
    """
    compared = any(prediction.distance is not None for prediction in predictions)
    tested = any(prediction.seen is not None for prediction in predictions)
    uncertainties = uncertainty_names(predictions, classes)
    rows = []
    for prediction in predictions:
        probabilities = [f"{p:.9g}" for p in prediction.probabilities] or [""] * len(classes)
        label, predicted = prediction.truth(classes) or "", prediction.decided(classes) or ""
        name, error = readable_name(prediction.name), readable_name(prediction.error or "")
        spread = [f"{value:.6g}" for value in uncertainty_of(prediction)] or [""] * len(uncertainties)
        seen = [{True: "yes", False: "no", None: ""}[prediction.seen]] * tested
        done = [adjusted] * bool(adjusted)
        distance = _distance(prediction)[: 2 * compared]
        rows.append([name, label, predicted, *probabilities, *spread, *distance, *seen, *done, error])
    titles = [f"p_{title}" for title in classes] + uncertainties + ["unlike_training_data", "distance"] * compared
    titles += ["seen"] * tested + ["adjusted"] * bool(adjusted)
    write_rows(path, ["name", "label", "predicted", *titles, "error"], rows)
    return path


def uncertainty_names(predictions: Sequence[Prediction], classes: Sequence[str]) -> list[str]:
    """Returns the columns of uncertainty: one, or of findings one each; none where no prediction is a mean."""
    if not any(prediction.uncertainty for prediction in predictions):
        return []
    several = any(prediction.positive is not None for prediction in predictions)
    return [f"uncertainty_{name}" for name in classes] if several else ["uncertainty"]


def uncertainty_of(prediction: Prediction) -> tuple[float, ...]:
    """Returns the values of those columns: of the class that was called, or of each finding."""
    if prediction.predicted is None:
        return prediction.uncertainty
    return prediction.uncertainty[prediction.predicted : prediction.predicted + 1]


def _distance(prediction: Prediction) -> list[str]:
    if prediction.distance is None:
        return ["", ""]
    return ["yes" if prediction.unlike else "no", f"{prediction.distance:.6g}"]
