"""Figures against those of torchmetrics (golden/make_torchmetrics.py), a second reader beside scikit-learn."""

import json
from pathlib import Path

import numpy as np
import pytest

from xraycls.evaluation.findings import evaluate_findings
from xraycls.evaluation.metrics import scores

GOLDEN = json.loads(Path(__file__).parents[1].joinpath("golden", "torchmetrics.json").read_text())
CLOSE = {"rel": 1e-6}  # torchmetrics counts in float32


@pytest.mark.parametrize("case", GOLDEN["binary"], ids=lambda case: f"{len(case['labels'])} cases")
def test_a_finding_with_unknown_labels_has_the_figures_of_torchmetrics(case):
    labels, probabilities = np.array(case["labels"]), np.array(case["percent"]) / 100
    targets = np.where(labels < 0, np.nan, labels)[:, None]
    report = evaluate_findings(
        targets, probabilities[:, None], ["Edema"], thresholds=[GOLDEN["threshold"]], resamples=5
    )
    found = {name: report.findings["Edema"].figures[name].value for name in case["figures"]}
    assert found == pytest.approx(case["figures"], **CLOSE)


@pytest.mark.parametrize("case", GOLDEN["classes"], ids=lambda case: f"{len(case['labels'])} cases")
def test_classes_have_the_figures_of_torchmetrics(case):
    found = scores(np.array(case["labels"]), np.array(case["percent"]) / 100)
    assert {name: found[name] for name in case["figures"]} == pytest.approx(case["figures"], **CLOSE)
