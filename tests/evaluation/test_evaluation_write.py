"""A report on disk: complete, strict, escaped, and never half written."""

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from xraycls.evaluation.predictions import write_predictions
from xraycls.evaluation.report import evaluate
from xraycls.evaluation.write import write_report
from xraycls.types import Prediction

CLASSES = ("NORMAL", '<script>alert("x")</script> & co')
PICTURES = ["roc.png", "pr.png", "reliability.png", "confusion.png", "decision.png", "most_wrong.png"]


def predict(labels, probabilities, threshold=0.5):
    return [
        Prediction(f"images/<{i}>.png", tuple(map(float, p)), int(p[1] >= threshold), int(y))
        for i, (y, p) in enumerate(zip(labels, probabilities, strict=True))
    ]


def grey(row):
    return np.full((40, 50), row % 256, dtype=np.uint8)


@pytest.fixture(scope="module")
def written(cases, tmp_path_factory):
    labels, probabilities = cases(80, 2)
    predictions = predict(labels, probabilities, 0.3)
    predictions.insert(5, Prediction("broken.png", (), None, 1, "truncated, at byte 7"))
    predictions.append(Prediction("unlabelled.png", (0.25, 0.75), 1))
    folder = tmp_path_factory.mktemp("run")
    report = evaluate(labels, probabilities, CLASSES, threshold=0.3, resamples=50)
    metadata = {"model": "ResNet18 <b>", "best": float("nan"), "settings": {"batch": 8}}
    files = write_report(report, predictions, folder, image_of=grey, metadata=metadata)
    return folder, report, predictions, files


def refuse(name):
    raise AssertionError(f"{name} is not JSON")


def test_everything_is_written_and_nothing_else(written):
    folder, _, _, files = written
    expected = [folder / "pictures" / name for name in PICTURES]
    tables = ("predictions.csv", "decision_curve.csv", "reliability.csv")
    expected += [folder / name for name in ("report.html", *tables, "test.json")]
    assert files == expected
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(expected)


def test_the_json_is_strict_and_is_the_report(written):
    folder, report, _, _ = written
    found = json.loads((folder / "test.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert found.pop("metadata") == {"model": "ResNet18 <b>", "best": None, "settings": {"batch": 8}}
    assert found.pop("unreadable") == 1
    assert found == json.loads(json.dumps(report.to_dict()))
    assert found["auroc"]["interval"][0] <= found["auroc"]["value"] <= found["auroc"]["interval"][1]


def test_the_csv_holds_every_image(written):
    folder, _, predictions, _ = written
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [prediction.name for prediction in predictions]
    for row, prediction in zip(rows, predictions, strict=True):
        assert row["error"] == (prediction.error or "")
        assert row["label"] == ("" if prediction.label is None else CLASSES[prediction.label])
        if prediction.error is None:
            assert row["predicted"] == CLASSES[prediction.predicted]
            assert [float(row[f"p_{name}"]) for name in CLASSES] == pytest.approx(prediction.probabilities, rel=1e-8)
        else:
            assert {row["predicted"], *(row[f"p_{name}"] for name in CLASSES)} == {""}


def test_single_precision_survives_the_csv(tmp_path):
    probabilities = np.random.default_rng(0).random((50, 2)).astype(np.float32) ** 9
    predictions = [Prediction(str(i), tuple(map(float, p)), 0) for i, p in enumerate(probabilities)]
    path = write_predictions(predictions, ("a", "b"), tmp_path / "predictions.csv")
    rows = list(csv.DictReader(path.open(newline="")))
    back = np.array([[row["p_a"], row["p_b"]] for row in rows], dtype=np.float64).astype(np.float32)
    assert (back == probabilities).all()


def test_the_pictures_are_about_a_thousand_pixels_wide(written):
    folder, _, _, _ = written
    for name in PICTURES:
        with Image.open(folder / "pictures" / name) as picture:
            picture.load()
            assert 900 <= picture.width <= 1400
            assert np.asarray(picture.convert("L")).std() > 10  # something is drawn


class Page(HTMLParser):
    """Tags that are opened, and whether they are closed in order."""

    VOID = frozenset({"meta", "img", "br", "!doctype"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_is_whole_escaped_and_self_contained(written):
    folder, report, _, _ = written
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert {"script", "link", "b"} & {tag for tag, _ in page.tags} == {"b"}  # b: the headline only
    assert not re.search(r"https?:|url\(|@import", text)
    words = " ".join(page.words)
    assert CLASSES[1] in words
    assert "ResNet18 <b>" in words
    assert '{"batch": 8}' in words
    assert f"{report.figures.overall['auroc'].value:.3f}" in words
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    shown = [base64.b64decode(source.removeprefix("data:image/png;base64,"), validate=True) for source in sources]
    assert shown == [(folder / "pictures" / name).read_bytes() for name in PICTURES]
    assert Image.open(io.BytesIO(shown[0])).format == "PNG"


def test_without_mistakes_or_images_there_is_no_contact_sheet(cases, tmp_path):
    labels, probabilities = cases(30, 2)
    report = evaluate(labels, probabilities, CLASSES, resamples=20)
    sheet = tmp_path / "pictures" / "most_wrong.png"
    predictions = predict(labels, probabilities)
    assert sheet in write_report(report, predictions, tmp_path, image_of=grey)
    assert sheet not in write_report(report, predictions, tmp_path)
    assert not sheet.exists()
    right = [Prediction(p.name, p.probabilities, p.label, p.label) for p in predictions]
    assert sheet not in write_report(report, right, tmp_path, image_of=grey)


def test_a_failure_leaves_the_old_json(cases, tmp_path):
    labels, probabilities = cases(30, 2)
    report = evaluate(labels, probabilities, CLASSES, resamples=20)
    write_report(report, predict(labels, probabilities), tmp_path, image_of=grey)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fail(row):
        raise RuntimeError(f"row {row}")

    with pytest.raises(RuntimeError):
        write_report(report, predict(labels, probabilities), tmp_path, image_of=fail)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after.keys() == before.keys()
    assert after[tmp_path / "test.json"] == before[tmp_path / "test.json"]
    assert after[tmp_path / "pictures" / "most_wrong.png"] == before[tmp_path / "pictures" / "most_wrong.png"]


def test_dollar_signs_are_not_formulas(cases, tmp_path):
    labels, probabilities = cases(20, 2)
    names = ("$\\oops{$", "a $ b $")
    report = evaluate(labels, probabilities, names, threshold=0.4, resamples=20)
    predictions = [
        Prediction("$\\frac{$.png", p.probabilities, p.predicted, p.label) for p in predict(labels, probabilities)
    ]
    assert len(write_report(report, predictions, tmp_path, image_of=grey)) == len(PICTURES) + 5


def test_labels_of_one_class_are_still_a_report(cases, tmp_path):
    _, probabilities = cases(20, 2)
    labels = np.ones(20, dtype=np.int64)
    report = evaluate(labels, probabilities, CLASSES, threshold=0.4, resamples=20)
    write_report(report, predict(labels, probabilities), tmp_path, image_of=grey)
    found = json.loads((tmp_path / "test.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert found["auroc"]["value"] is None
    assert Page((tmp_path / "report.html").read_text(encoding="utf-8")).open == []
