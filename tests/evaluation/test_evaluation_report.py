"""Reports: what they hold, what they leave out, and what JSON makes of them."""

import json
import math

import numpy as np
import pytest

from xraycls.errors import DataError, UsageError, XrayclsError
from xraycls.evaluation.intervals import basic_interval, bootstrap, percentile_interval
from xraycls.evaluation.metrics import METRICS, PER_CLASS, confusion, scores, weighted_scores
from xraycls.evaluation.report import Estimate, evaluate, without_nan
from xraycls.evaluation.summary import class_table, summary_table
from xraycls.evaluation.thresholds import format_threshold

CLASSES = ("NORMAL", "PNEUMONIA")


def strict(value):
    return json.loads(json.dumps(value, allow_nan=False))


def test_figures_at_half_and_at_the_operating_threshold(cases):
    labels, probabilities = cases(150, 2)
    report = evaluate(labels, probabilities, CLASSES, threshold=0.3, resamples=300)
    found = strict(report.to_dict())
    at_half, at_threshold = scores(labels, probabilities), scores(labels, probabilities, 0.3)
    for name in METRICS:
        assert found[name]["value"] == pytest.approx(at_half[name])
        low, high = found[name]["interval"]
        assert low <= found[name]["value"] <= high
        assert low < high
    assert found["at_threshold"].pop("threshold") == 0.3
    assert set(found["at_threshold"]) == {
        "accuracy",
        "balanced_accuracy",
        "sensitivity",
        "specificity",
        "f1",
    }
    for name, figure in found["at_threshold"].items():
        assert figure["value"] == pytest.approx(at_threshold[name])
        assert figure["interval"][0] <= figure["value"] <= figure["interval"][1]
    called = probabilities[:, 1] >= 0.3
    assert found["confusion_at_threshold"] == confusion(labels, called.astype(int), 2).tolist()
    assert found["confusion"] == confusion(labels, (probabilities[:, 1] >= 0.5).astype(int), 2).tolist()
    assert found["n"] == 150
    assert found["classes"] == list(CLASSES)
    assert found["positive_class"] == "PNEUMONIA"
    assert set(found["per_class"]) == set(CLASSES)
    assert set(found["per_class"]["NORMAL"]) == {*PER_CLASS, "support"}
    assert found["per_class"]["NORMAL"]["support"] == int((labels == 0).sum())
    assert found["per_class"]["NORMAL"]["sensitivity"]["value"] == found["specificity"]["value"]
    assert found["per_class_at_threshold"]["PNEUMONIA"]["f1"] == found["at_threshold"]["f1"]


def test_without_a_threshold_there_is_nothing_at_it(cases):
    found = evaluate(*cases(30, 2), CLASSES, resamples=20).to_dict()
    assert found["at_threshold"] is None
    assert found["confusion_at_threshold"] is None


def test_each_figure_has_the_interval_that_suits_it(cases):
    labels, probabilities = cases(150, 2)
    order = np.argsort(probabilities[:, 1])  # in which a report draws
    labels, probabilities = labels[order], probabilities[order]
    report = evaluate(labels, probabilities, CLASSES, resamples=100, seed=2)
    drawn = bootstrap(lambda weights: weighted_scores(labels, probabilities, weights), 150, resamples=100, seed=2)
    for name, figure in report.figures.overall.items():
        basic = name == "ece"
        expected = basic_interval(drawn[name], figure.value) if basic else percentile_interval(drawn[name])
        assert (figure.low, figure.high) == expected


def test_more_classes(cases):
    labels, probabilities = cases(90, 3)
    report = evaluate(labels, probabilities, ("a", "b", "c"), resamples=50)
    assert report.positive_class is None
    assert report.figures.threshold is None
    assert report.figures.overall["auroc"].value == pytest.approx(
        np.mean([row["auroc"].value for row in report.figures.per_class.values()])
    )
    assert summary_table(report)[0] == ("", "macro average")
    with pytest.raises(UsageError, match="needs two classes, and there are 3"):
        evaluate(labels, probabilities, ("a", "b", "c"), threshold=0.4)


def test_unlabelled_cases_are_counted_and_left_out(cases):
    labels, probabilities = cases(60, 2)
    patients = [f"p{i // 2}" for i in range(60)]
    hidden = labels.copy()
    hidden[::5] = -1
    known = hidden >= 0
    report = evaluate(hidden, probabilities, CLASSES, groups=patients, resamples=50)
    alone = evaluate(
        labels[known],
        probabilities[known],
        CLASSES,
        groups=[patient for patient, kept in zip(patients, known, strict=True) if kept],
        resamples=50,
    )
    assert (report.n, report.unlabelled, report.groups) == (48, 12, 30)
    assert report.figures.overall == alone.figures.overall
    with pytest.raises(DataError, match="not one image has a label"):
        evaluate(np.full(60, -1), probabilities, CLASSES)


def test_a_network_that_diverged_has_no_report(cases):
    labels, probabilities = cases(20, 2)
    probabilities[3] = np.nan
    with pytest.raises(XrayclsError, match=r"no probabilities for 1 of 20 images.*--precision fp32"):
        evaluate(labels, probabilities, CLASSES)


def test_patients_widen_the_interval_and_unknown_patients_change_nothing(cases):
    labels, probabilities = cases(60, 2)
    repeated = np.repeat(labels, 4), np.repeat(probabilities, 4, axis=0)
    plain = evaluate(*repeated, CLASSES, resamples=400)
    grouped = evaluate(*repeated, CLASSES, groups=np.repeat(np.arange(60), 4).tolist(), resamples=400)
    unknown = evaluate(*repeated, CLASSES, groups=[None] * 240, resamples=400)
    assert grouped.groups == 60
    assert width(grouped) > 1.5 * width(plain)
    assert unknown == plain


def width(report):
    auroc = report.figures.overall["auroc"]
    return auroc.high - auroc.low


def test_the_seed_decides(cases):
    same, again, other = (evaluate(*cases(40, 2), CLASSES, resamples=50, seed=seed) for seed in (3, 3, 4))
    assert same == again
    assert same.figures.overall["auroc"] != other.figures.overall["auroc"]


def test_what_is_undefined_is_null(cases):
    labels, probabilities = cases(20, 2)
    found = strict(evaluate(np.zeros_like(labels), probabilities, CLASSES, threshold=0.4, resamples=20).to_dict())
    assert found["auroc"] == {"value": None, "interval": [None, None]}
    assert found["at_threshold"]["sensitivity"]["value"] is None
    assert found["specificity"]["value"] is not None
    assert strict(without_nan({"a": [math.nan, (math.inf, 1.5)], "b": "NaN"})) == {"a": [None, [None, 1.5]], "b": "NaN"}


def test_the_summary_is_a_table_ready_to_print(cases):
    labels, probabilities = cases(50, 2)
    report = evaluate(labels, probabilities, CLASSES, threshold=0.25, resamples=50)
    header, *rows = summary_table(report)
    assert header == ("", "at 0.5", "at 0.25")
    assert [row[0] for row in rows] == [metric.title for metric in METRICS.values()]
    by_title = {row[0]: row for row in rows}
    sensitivity: Estimate = report.figures.overall["sensitivity"]
    assert by_title["Sensitivity"][1].startswith(f"{sensitivity.value:.3f} ({sensitivity.low:.3f}")
    assert by_title["AUROC"][2] == ""
    assert by_title["Sensitivity"][2] != ""
    header, *rows = class_table(report, report.figures)
    assert [row[:2] for row in rows] == [(name, str(report.counts[name])) for name in CLASSES]
    assert {len(row) for row in rows} == {len(header)}
    assert "AUROC" not in class_table(report, report.operating)[0]
    undefined = evaluate(np.zeros_like(labels), probabilities, CLASSES, resamples=20)
    assert summary_table(undefined)[1] == ("AUROC", "\N{EN DASH}")


@pytest.mark.parametrize(("threshold", "shown"), [(0.5, "0.5"), (0.31649, "0.316"), (0.99998, "0.99998"), (1.0, "1")])
def test_a_threshold_is_never_rounded_to_one(threshold, shown):
    assert format_threshold(threshold) == shown
