"""The checks one by one, against scikit-learn and by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.tree import DecisionTreeClassifier

from xraycls.data.audit import copies
from xraycls.data.audit.boxes import check_boxes
from xraycls.data.audit.copies import check_near_duplicates
from xraycls.data.audit.features import Feature, metadata_features
from xraycls.data.audit.finding import Evidence
from xraycls.data.audit.pictures import negatives
from xraycls.data.audit.run import checks
from xraycls.data.audit.shortcut import check_shortcut
from xraycls.data.audit.splits import check_balance, check_patients
from xraycls.data.audit.tree import _standard_error, rule_for
from xraycls.data.facts import PictureFacts, picture_facts
from xraycls.data.headers import PictureHeader
from xraycls.data.phantom import write_phantom
from xraycls.data.similar import Similar
from xraycls.data.table import SampleTable
from xraycls.types import Box, Sample

RNG = np.random.default_rng(0)


def header(**changed):
    usual = {"bytes": 50_000, "width": 300, "height": 200, "depth": 8, "channels": 1, "format": "JPEG"}
    return PictureHeader(**(usual | changed))


def evidence(samples, headers=None, classes=("NORMAL", "PNEUMONIA")):
    table = SampleTable(tuple(samples), classes, Path("/data"), "test")
    return Evidence(table, tuple(headers or [header()] * len(table)))


def number(values, name="age", shown=lambda v: f"{v:.3g}"):
    return Feature(name, np.asarray(values, float), shown)


def test_the_area_under_the_curve_against_scikit_learn():
    positive = RNG.uniform(size=400) < 0.4
    groups = np.repeat(np.arange(200), 2)
    features = [number(RNG.normal(positive * 1.2), "a"), number(RNG.normal(size=400), "b")]
    rule = rule_for(features, positive, groups, least=0.5)
    values, predicted = np.stack([f.values for f in features], 1), np.zeros(400)
    for seen, held in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(values, positive, groups):
        tree = DecisionTreeClassifier(max_depth=3, min_samples_leaf=4, class_weight="balanced", random_state=0)
        predicted[held] = tree.fit(values[seen], positive[seen]).predict_proba(values[held])[:, 1]
    assert rule.auc == pytest.approx(roc_auc_score(positive, predicted), abs=0.03)
    assert 0.65 < rule.auc < 0.9
    assert sorted(row for leaf in rule.leaves for row in leaf.rows) == list(range(400))
    for leaf in rule.leaves:
        assert leaf.positive == pytest.approx(positive[list(leaf.rows)].mean())


@pytest.mark.parametrize("seed", range(5))
def test_noise_tells_nothing(seed):
    rng = np.random.default_rng(seed)
    features = [number(rng.normal(size=60), f"f{i}") for i in range(12)]
    assert rule_for(features, np.arange(60) % 2 == 0, np.arange(60), least=0.9) is None


def test_a_patient_is_not_told_by_himself():
    """Every patient has a value of his own: pictures of the same patient must not tell his label."""
    patients = np.repeat(np.arange(40), 10)
    features = [number(RNG.uniform(size=40)[patients])]
    positive = (RNG.uniform(size=40) < 0.5)[patients]
    assert rule_for(features, positive, np.arange(400), least=0.7) is not None  # the pitfall
    assert rule_for(features, positive, patients, least=0.7) is None


@pytest.mark.parametrize(("positives", "negatives", "factor"), [(15, 40, 6.0), (30, 30, 12.0)])
def test_the_standard_error_against_a_simulation(positives, negatives, factor):
    """Scores with exponential tails, as the formula assumes: the AUC is factor / (1 + factor)."""
    rng = np.random.default_rng(0)
    ill, well = rng.exponential(factor, (3000, positives, 1)), rng.exponential(1, (3000, 1, negatives))
    areas = (ill > well).mean(axis=(1, 2))
    area = factor / (1 + factor)
    assert areas.mean() == pytest.approx(area, abs=0.003)
    assert _standard_error(area, positives, negatives) == pytest.approx(areas.std(), rel=0.06)


def test_rules_in_words():
    age = np.concatenate([np.arange(30) % 12, 30 + np.arange(30) % 40])
    rule = rule_for([number(age)], age > 20, np.arange(60), least=0.9)
    assert {leaf.when for leaf in rule.leaves} == {"age below 20.5", "age above 20.5"}
    middle = np.where(np.arange(200) % 2, RNG.uniform(40, 50, 200), np.where(np.arange(200) % 4, 10, 90))
    rule = rule_for([number(middle)], np.arange(200) % 2 == 1, np.arange(200), least=0.9)
    assert any(leaf.when.startswith("age 2") and " to " in leaf.when and leaf.positive == 1 for leaf in rule.leaves)
    flag = Feature("sex is F", (np.arange(60) % 2).astype(float), None)
    rule = rule_for([flag], np.arange(60) % 2 == 1, np.arange(60), least=0.9)
    assert {leaf.when for leaf in rule.leaves} == {"sex is F", "sex is not F"}


def test_too_few_to_say():
    few = np.arange(18)
    assert rule_for([number(few)], few > 8, few, least=0.9) is None  # nine of either class
    many = np.arange(60)
    assert rule_for([number(many)], many > 30, many // 10, least=0.9) is None  # three patients of either class
    assert rule_for([], many > 30, many, least=0.9) is None


COLUMNS = {
    "PatientAge": (["031Y", "8", "150", "", "61.5", "4M"] * 2, {"age", "age is unknown"}),
    "gender": (["f", "F", "M", "m", "", "M"] * 2, {"sex is F", "sex is M"}),
    "View Position": (["PA", "AP", "PA", "AP", "PA", "PA"] * 2, {"view is AP", "view is PA"}),
    "subtype": (["virus", "bacteria"] * 6, set()),
    "Modality": (["CR"] * 12, set()),
}


@pytest.mark.parametrize("column", COLUMNS)
def test_columns_that_say_something(column):
    values, expected = COLUMNS[column]
    samples = [Sample(Path(f"{i}.png"), i % 2, attributes=((column, value),)) for i, value in enumerate(values)]
    features = {f.name: f.values for f in metadata_features(evidence(samples), range(12))}
    assert set(features) == expected
    if column == "PatientAge":
        assert features["age"].tolist() == [31, 8, 31, 31, 61.5, 31] * 2  # nonsense and blanks are the median
        assert features["age is unknown"].tolist() == [0, 0, 1, 1, 0, 1] * 2


@given(st.lists(st.tuples(st.sampled_from(["Age", "SEX", "view", "x"]), st.text(max_size=8)), min_size=2, max_size=9))
def test_any_text_in_a_table_gives_numbers(written):
    samples = [Sample(Path(f"{row}.png"), 0, attributes=(cell,)) for row, cell in enumerate(written)]
    for feature in metadata_features(evidence(samples), range(len(samples))):
        assert np.isfinite(feature.values).all()
        assert feature.shown is not None or set(feature.values) == {0, 1}


def test_the_table_comes_before_the_tags():
    samples = [Sample(Path(f"{i}.dcm"), 0, attributes=(("age", str(i)),) if i % 2 else ()) for i in range(8)]
    headers = [header(attributes=(("age", "70"), ("view", "AP"))) for _ in samples]
    features = metadata_features(evidence(samples, headers), range(8))
    assert [f.name for f in features] == ["age"]
    assert features[0].values.tolist() == [70, 1, 70, 3, 70, 5, 70, 7]


def test_each_of_several_classes_is_told_from_the_others():
    classes = ("COVID", "NORMAL", "VIRUS")
    samples = [Sample(Path(f"{i}.png"), i % 3) for i in range(90)]
    headers = [header(depth=16, format="PNG") if i % 3 == 0 else header(bytes=40_000 + i % 7) for i in range(90)]
    found = list(check_shortcut(evidence(samples, headers, classes)))
    assert [finding.figures["class"] for finding in found] == ["COVID"]
    assert {finding.kind for finding in found} == {"shortcut"}


def test_pictures_without_labels_and_no_pictures_at_all(tmp_path):
    for row in range(30):
        (tmp_path / f"{row}.png").write_bytes(b"x" * row)
    unlabelled = evidence([Sample(tmp_path / f"{row}.png") for row in range(30)])
    assert list(checks(unlabelled)) == []
    assert list(checks(evidence([]))) == []


def test_shares_that_chance_explains_are_no_shift():
    samples = [Sample(Path(f"{i}"), int(i % 2 == 0), split="train") for i in range(400)]
    some = [Sample(Path(f"t{i}"), int(i < 12), split="test") for i in range(20)]  # 60 % of 20: an accident
    assert list(check_balance(evidence([*samples, *some]))) == []
    many = [Sample(Path(f"t{i}"), int(i < 240), split="test") for i in range(400)]
    assert list(check_balance(evidence([*samples, *many]))) == []  # exactly a tenth
    many = [Sample(Path(f"t{i}"), int(i < 300), split="test") for i in range(400)]
    assert [finding.kind for finding in check_balance(evidence([*samples, *many]))] == ["class-shares"]
    assert list(check_balance(evidence([replace(s, split=None) for s in samples]))) == []


def test_patients_of_a_table_have_no_series():
    samples = [
        Sample(Path("a/person7_virus_1.png"), 0, "case 1", "train"),
        Sample(Path("b/IM-0001-0001.png"), 0, "case 1", "test"),
        Sample(Path("c/x.png"), 0, None, "test"),
    ]
    found = list(check_patients(evidence(samples)))
    assert [(f.kind, f.samples) for f in found] == [("patient-across-splits", (0, 1))]
    assert "case 1" not in repr(found)  # who it is stays in the table


def boxes_of(*boxes, label=1, classes=None):
    made = evidence([Sample(Path("a.png"), label, boxes=boxes)])
    return [finding.kind for finding in check_boxes(made, classes)]


def test_boxes_at_the_limit():
    assert boxes_of(Box("a", 0, 0, 300, 200)) == []
    assert boxes_of(Box("a", -0.9, -0.5, 300.9, 200.4)) == []  # rounding
    assert boxes_of(Box("a", -2, 0, 30, 20)) == ["box-outside"]
    assert boxes_of(Box("a", 0, 0, 302, 20)) == ["box-outside"]
    assert boxes_of(Box("a", 0, 0, 20, float("inf"))) == ["box-outside"]
    assert boxes_of(Box("a", 5, 5, 5, 20)) == ["box-empty"]
    assert boxes_of(Box("a", 5, 5, float("nan"), 20)) == ["box-empty"]
    assert boxes_of(Box("a", 5, 5, 20, 20), Box("b", 5, 5, 20, 20)) == []
    assert boxes_of(Box("a", 5, 5, 20, 20), Box("a", 5.2, 5, 20, 20.3)) == ["box-repeated"]
    assert boxes_of(Box("DontCare", -1, -1, -1, -1)) == []
    assert boxes_of(Box("a", 5, 5, 20, 20), label=0) == ["box-on-negative"]
    assert boxes_of(Box("a", 5, 5, 20, 20), Box("A", 30, 30, 50, 50)) == ["box-class"]
    assert boxes_of(Box("a", 5, 5, 20, 20), Box("A", 30, 30, 50, 50), classes=["a", "A"]) == []


def test_a_class_of_two_boxes_among_thousands():
    samples = [Sample(Path(f"{i}.png"), 1, boxes=(Box("opacity", 5, 5, 20, 20),)) for i in range(1200)]
    samples[7] = replace(samples[7], boxes=(Box("opcity", 5, 5, 20, 20),))
    found = list(check_boxes(evidence(samples)))
    assert [(finding.kind, finding.samples) for finding in found] == [("box-class", (7,))]
    assert found[0].groups[0].note == "opcity"


def test_inverted_pictures_at_any_share(tmp_path):
    table = write_phantom(tmp_path, images=40, size=96, threads=1)
    films = [facts.thumbnail for facts in picture_facts(table)]
    assert negatives(films) == []
    for count in (1, 5, 15):
        chosen = sorted(RNG.permutation(40)[:count].tolist())
        assert negatives([255 - film if row in chosen else film for row, film in enumerate(films)]) == chosen
    assert negatives(films[:7]) == []
    noise = list(RNG.integers(0, 256, (40, 64, 64), dtype=np.uint8))
    assert negatives(noise) == []


def test_copies_of_copies_are_groups_as_scipy_joins_them(monkeypatch):
    rng = np.random.default_rng(0)
    pairs = sorted({tuple(sorted(rng.choice(60, 2, replace=False).tolist())) for _ in range(40)}, key=sum)
    similar = [Similar(*pair, alike) for pair, alike in zip(pairs, np.linspace(1, 0.9, len(pairs)), strict=True)]
    monkeypatch.setattr(copies, "near_duplicates", lambda thumbnails: similar)
    look = {"colour": 0.0, "thumbnail": np.zeros((64, 64), np.uint8), "mean": 0.0, "contrast": 0.0, "border": 0.0}
    usual = {"bytes": 50_000, "width": 300, "height": 200, "depth": 8, "channels": 1, "format": "JPEG", "marker": None}
    facts = tuple(PictureFacts(**usual, **look, digest=str(row)) for row in range(60))
    table = SampleTable(tuple(Sample(Path(f"{row}.png"), 0) for row in range(60)), ("A", "B"), Path("/data"), "test")

    joined = connected_components(coo_array((np.ones(len(pairs)), np.transpose(pairs)), (60, 60)), directed=False)[1]
    expected = {}
    for each in np.unique(joined):
        rows = tuple(np.flatnonzero(joined == each).tolist())
        if len(rows) > 1:
            expected[rows] = f"{min(each.alike for each in similar if each.first in rows):.3f} alike"
    (finding,) = check_near_duplicates(Evidence(table, facts, facts))
    assert {group.samples: group.note for group in finding.groups} == expected
