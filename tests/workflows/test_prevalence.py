"""What the training's prevalence is, and probabilities for another one by hand."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from xraycls.data.table import SampleTable
from xraycls.errors import UsageError
from xraycls.evaluation.recalibration import mapped
from xraycls.training.config import TrainConfig
from xraycls.types import Sample
from xraycls.workflows.prevalence import _maps, _parsed, trained_prevalence


def table(labels: list[int], classes: tuple[str, ...]) -> SampleTable:
    return SampleTable(tuple(Sample(Path("a"), label) for label in labels), classes, Path(), "csv")


def test_prior_shift_of_two_classes_is_the_formula_of_saerens():
    p, before, after = np.array([0.1, 0.5, 0.9]), 0.4, 0.05
    expected = p * after / before / (p * after / before + (1 - p) * (1 - after) / (1 - before))
    maps = _maps(("a", "b"), {"b": after}, {"a": 0.6, "b": before}, multi_label=False)
    found = mapped(np.stack([1 - p, p], axis=1), maps, multi_label=False)
    np.testing.assert_allclose(found[:, 1], expected, rtol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_prior_shift_of_three_classes_shares_the_rest_as_before():
    p, before = np.array([[0.2, 0.3, 0.5]]), {"a": 0.5, "b": 0.3, "c": 0.2}
    maps = _maps(("a", "b", "c"), {"c": 0.6}, before, multi_label=False)
    after = np.array([0.25, 0.15, 0.6])
    weighted = p * after / np.array([0.5, 0.3, 0.2])
    np.testing.assert_allclose(mapped(p, maps, multi_label=False), weighted / weighted.sum(), rtol=1e-9)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, 0.25), ({"class_weights": "balanced"}, 0.5), ({"balance": True}, 0.5)],
)
def test_sampling_and_weights_count_for_classes(settings, expected):
    config = SimpleNamespace(**{"class_weights": "none", "balance": False, "loss": "auto"} | settings)
    assert trained_prevalence(config, table([0, 0, 0, 1], ("a", "b")))["b"] == pytest.approx(expected)


def test_sampling_weights_and_losses_count_for_findings():
    values = [(1.0, 0.0), (0.0, 0.0), (0.0, 1.0), (0.0, None), (0.5, 1.0)]
    samples = tuple(Sample(Path("a"), findings=each) for each in values)
    found = SampleTable(samples, ("No Finding", "Finding"), Path(), "csv", findings=("Edema", "Mass"))
    config = TrainConfig(loss="bce")
    assert trained_prevalence(config, found) == pytest.approx({"Edema": 1 / 4, "Mass": 2 / 4})
    balanced = config.updated({"class_weights": "balanced"})
    assert trained_prevalence(balanced, found) == pytest.approx({"Edema": 0.5, "Mass": 0.5})
    assert trained_prevalence(config.updated({"loss": "focal"}), found) == {}
    alone = replace(found, samples=(replace(samples[0], findings=(1.0, None)),))
    assert trained_prevalence(config, alone) == {}


def test_shares_that_leave_nothing_are_refused():
    assert _parsed("0.3", ("NORMAL", "SICK"), multi_label=False) == {"SICK": 0.3}
    assert _parsed("a=0.1,B=0.2", ("A", "B", "C"), multi_label=False) == {"A": 0.1, "B": 0.2}
    with pytest.raises(UsageError, match="sum to 1 or more"):
        _parsed("A=0.6,B=0.5", ("A", "B", "C"), multi_label=False)
    with pytest.raises(UsageError, match="names no class"):
        _parsed("0.6", ("A", "B", "C"), multi_label=False)
