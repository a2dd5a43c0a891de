"""Pictures: their lines are the curves, and drawing them touches nothing global."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from xraycls.evaluation.mistakes import most_wrong, most_wrong_plot
from xraycls.evaluation.plots import confusion_plot, pr_plot, reliability_plot, roc_plot
from xraycls.evaluation.report import evaluate
from xraycls.types import Prediction

CLASSES = ("NORMAL", "PNEUMONIA")


def lines(figure):
    return {line.get_label(): line.get_xydata() for line in figure.axes[0].get_lines()}


def starting(found, start):
    return next(points for label, points in found.items() if label.startswith(start))


def test_the_roc_curve_has_its_area_and_goes_through_the_operating_point(cases):
    labels, probabilities = cases(120, 2)
    report = evaluate(labels, probabilities, CLASSES, threshold=0.3, resamples=20)
    found = lines(roc_plot(report, labels, probabilities))
    curve = starting(found, "PNEUMONIA: AUROC")
    figures = report.figures.overall
    assert np.trapezoid(curve[:, 1], curve[:, 0]) == pytest.approx(figures["auroc"].value)
    called = probabilities[:, 1] >= 0.3
    point = [called[labels == 0].mean(), called[labels == 1].mean()]
    assert found["operating threshold 0.3"][0] == pytest.approx(point)
    assert found["threshold 0.5"][0] == pytest.approx([1 - figures["specificity"].value, figures["sensitivity"].value])


def test_the_precision_curve_steps_to_its_average_and_goes_through_the_operating_point(cases):
    labels, probabilities = cases(120, 2)
    report = evaluate(labels, probabilities, CLASSES, threshold=0.3, resamples=20)
    found = lines(pr_plot(report, labels, probabilities))
    curve = starting(found, "PNEUMONIA: AP")
    area = -np.sum(np.diff(curve[:, 0]) * curve[:-1, 1])
    assert area == pytest.approx(report.figures.overall["average_precision"].value)
    called = probabilities[:, 1] >= 0.3
    assert found["operating threshold 0.3"][0] == pytest.approx([called[labels == 1].mean(), labels[called].mean()])


def test_the_reliability_curve_and_its_histogram(cases):
    labels, probabilities = cases(200, 2)
    report = evaluate(labels, probabilities, CLASSES, resamples=20)
    figure = reliability_plot(report, labels, probabilities)
    points = starting(lines(figure), "calibration error")
    bars = [bar.get_height() for bar in figure.axes[1].patches]
    assert sum(bars) == 200
    assert len(points) == sum(height > 0 for height in bars)
    low, high = np.array(figure.axes[0].collections[0].get_segments())[:, :, 1].T
    assert (low <= points[:, 1] + 1e-12).all()
    assert (points[:, 1] <= high + 1e-12).all()
    assert low.min() >= -1e-12
    assert high.max() <= 1 + 1e-12


def test_the_confusion_matrix_shows_counts_and_shares_at_both_thresholds(cases):
    labels, probabilities = cases(60, 2)
    report = evaluate(labels, probabilities, CLASSES, threshold=0.2, resamples=20)
    figure = confusion_plot(report)
    assert [axes.get_title() for axes in figure.axes] == ["threshold 0.5", "operating threshold 0.2"]
    for axes, figures in zip(figure.axes, (report.figures, report.operating), strict=True):
        shown = [text.get_text() for text in axes.texts]
        expected = []
        for row in figures.confusion:
            expected += [part for count in row for part in (str(count), f"{count / sum(row):.1%}")]
        assert shown == expected


@pytest.mark.parametrize(("classes", "legend_below"), [(3, False), (9, True)])
def test_more_classes_have_a_curve_each(cases, classes, legend_below):
    labels, probabilities = cases(150, classes)
    names = [f"class {c}" for c in range(classes)]
    report = evaluate(labels, probabilities, names, resamples=20)
    for plot, figure_name in ((roc_plot, "AUROC"), (pr_plot, "AP")):
        figure = plot(report, labels, probabilities)
        legend = figure.legends[0] if legend_below else figure.axes[0].get_legend()
        shown = [text.get_text() for text in legend.get_texts()]
        assert [text.split(":")[0] for text in shown] == names
        assert all(figure_name in text for text in shown)


def test_one_class_alone_says_why_there_is_no_curve(cases):
    labels, probabilities = cases(20, 2)
    labels = np.zeros_like(labels)
    report = evaluate(labels, probabilities, CLASSES, threshold=0.3, resamples=20)
    for plot in (roc_plot, pr_plot):
        axes = plot(report, labels, probabilities).axes[0]
        assert [text.get_text() for text in axes.texts] == ["no curve: the labels hold only one class"]
        assert axes.get_legend() is None
    confusion_plot(report).savefig(io.BytesIO())  # an empty row has no shares to divide


def wrong(name, true, positive, predicted=None):
    predicted = int(positive >= 0.5) if predicted is None else predicted
    return Prediction(name, (1 - positive, positive), predicted, true)


def test_the_most_wrong_come_first_and_what_is_not_wrong_never():
    predictions = [
        wrong("right", 1, 0.9),
        wrong("a little", 0, 0.6),
        Prediction("unreadable", (), None, 1, "truncated"),
        wrong("badly", 1, 0.01),
        Prediction("unlabelled", (0.1, 0.9), 1),
        wrong("by threshold", 0, 0.3, predicted=1),
    ]
    assert [predictions[row].name for row in most_wrong(predictions)] == ["badly", "a little", "by threshold"]
    assert most_wrong(predictions, k=1) == [3]


@pytest.mark.parametrize("count", [1, 3, 12])
def test_the_contact_sheet_shows_each_with_its_classes(count):
    predictions = [wrong(f"folder/image{i}.png", 0, 0.9) for i in range(count)]
    images = [np.full((30 + i, 60), 10 * i, dtype=np.uint8) for i in range(count)]
    figure = most_wrong_plot(predictions, range(count), CLASSES, lambda row: images[row])
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == count
    for i, axes in enumerate(shown):
        texts = [text.get_text() for text in axes.texts]
        assert texts == ["PNEUMONIA 0.900", "true NORMAL", f"image{i}.png"]
        pixels = np.asarray(axes.images[0].get_array())
        assert pixels.shape[0] == pixels.shape[1]
        assert pixels[pixels.shape[0] // 2, pixels.shape[1] // 2] == 10 * i
    with io.BytesIO() as file:
        figure.savefig(file)
        assert Image.open(file).width >= 500


@pytest.mark.exhaustive
def test_drawing_imports_no_pyplot():
    program = """
import sys, io, numpy as np
from xraycls.evaluation.report import evaluate
from xraycls.evaluation.plots import roc_plot
import xraycls.evaluation.write
assert "matplotlib" not in sys.modules and "sklearn" not in sys.modules
labels, p = np.array([0, 1, 0, 1]), np.array([[.9, .1], [.2, .8], [.4, .6], [.5, .5]])
roc_plot(evaluate(labels, p, ("a", "b"), resamples=5), labels, p).savefig(io.BytesIO())
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
