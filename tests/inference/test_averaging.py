"""Several models as one, and one model over several views: means, their spread, and what files say of it."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import xraycls
from xraycls.data.open import open_image
from xraycls.errors import UsageError
from xraycls.inference.choose import open_classifiers, predictor_of_classifier
from xraycls.inference.ensemble import ensemble_of, mean_and_spread
from xraycls.inference.tta import MOVES, Move, described_moves, moved_recipe, moves_of
from xraycls.loaders.recipes.classification import find_recipe
from xraycls.loaders.render import render
from xraycls.models.classifier import build_classifier, save_classifier
from xraycls.types import Sample
from xraycls.workflows.predict import prediction_rows, write_predictions

CLASSES = ("NORMAL", "PNEUMONIA")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Two classifiers of the same classes in other orders, two of findings, and films of their size and larger."""
    home = tmp_path_factory.mktemp("averaging")
    for number, (name, classes, size) in enumerate(
        [
            ("a", CLASSES, 32),
            ("b", CLASSES[::-1], 48),
            ("edema", ("Edema", "Mass"), 32),
            ("mass", ("Mass", "Edema"), 32),
        ]
    ):
        torch.manual_seed(number)
        several = name in ("edema", "mass")
        classifier, _ = build_classifier("ResNet18", classes, weights="none", size=size, multi_label=several)
        torch.nn.init.normal_(classifier.net.fc.weight, std=0.3)
        extra = {"thresholds": json.dumps({"Edema": 0.4, "Mass": 0.6})} if several else {"threshold": f"0.{4 + number}"}
        save_classifier(classifier.eval(), home / f"{name}.safetensors", extra=extra)
    rng = np.random.default_rng(0)
    (home / "films").mkdir()
    (home / "mirrored").mkdir()
    for number, side in enumerate((32, 64, 96)):
        coarse = rng.integers(0, 256, (8, 8), dtype=np.uint8)
        film = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(home / "films" / f"{number}.png"), film)
        cv2.imwrite(str(home / "mirrored" / f"{number}.png"), film[:, ::-1])
    return home


def probabilities(home: Path, names: str | list[str], films: str = "films", **options) -> np.ndarray:
    models = [home / f"{name}.safetensors" for name in ([names] if isinstance(names, str) else names)]
    found, _ = xraycls.predict(models, home / films, device="cpu", precision="fp32", ood_check=False, **options)
    return np.array([each.probabilities for each in found])


def test_members_are_averaged_class_by_class_and_their_spread_is_numpys(home, tmp_path):
    models = [home / "a.safetensors", home / "b.safetensors"]
    found, classes = xraycls.predict(models, home / "films", device="cpu", precision="fp32", ood_check=False)
    single = np.stack([probabilities(home, "a"), probabilities(home, "b")[:, ::-1]])
    assert classes == CLASSES
    np.testing.assert_allclose([each.probabilities for each in found], single.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose([each.uncertainty for each in found], single.std(axis=0), atol=1e-7)
    table, _ = write_predictions(found, classes, tmp_path)
    for row, each in zip(csv.DictReader(table.open(encoding="utf-8-sig")), found, strict=True):
        assert float(row["uncertainty"]) == pytest.approx(each.uncertainty[each.predicted or 0], rel=1e-4)
    assert prediction_rows(found, classes)[0]["uncertainty"] == found[0].uncertainty[found[0].predicted or 0]


def test_every_finding_has_an_uncertainty_of_its_own(home, tmp_path):
    models = [home / "edema.safetensors", home / "mass.safetensors"]
    found, classes = xraycls.predict(models, home / "films", device="cpu", precision="fp32", ood_check=False)
    single = np.stack([probabilities(home, "edema"), probabilities(home, "mass")[:, ::-1]])
    table, _ = write_predictions(found, classes, tmp_path)
    rows = list(csv.DictReader(table.open(encoding="utf-8-sig")))
    written = [[float(row[f"uncertainty_{name}"]) for name in ("Edema", "Mass")] for row in rows]
    np.testing.assert_allclose(written, single.std(axis=0), atol=1e-5)


def test_predictions_of_one_model_have_no_uncertainty(home, tmp_path):
    found, classes = xraycls.predict(home / "a.safetensors", home / "films", device="cpu", ood_check=False)
    table, _ = write_predictions(found, classes, tmp_path)
    assert "uncertainty" not in table.read_text()


def test_a_weighted_mean_and_its_spread_are_numpys():
    values = np.random.default_rng(0).random((3, 5, 2))
    mean, spread = mean_and_spread(values, (0.2, 0.5, 0.3))
    np.testing.assert_allclose(mean, np.average(values, axis=0, weights=(0.2, 0.5, 0.3)))
    np.testing.assert_allclose(spread**2, np.average((values - mean) ** 2, axis=0, weights=(0.2, 0.5, 0.3)))


def test_flipping_is_the_mean_of_the_films_and_of_mirrored_files(home):
    by_hand = np.stack([probabilities(home, "a"), probabilities(home, "a", "mirrored")])
    found, _ = xraycls.predict(
        home / "a.safetensors", home / "films", device="cpu", precision="fp32", ood_check=False, tta="flip"
    )
    np.testing.assert_allclose([each.probabilities for each in found], by_hand.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose([each.uncertainty for each in found], by_hand.std(axis=0), atol=1e-5)


def test_the_spread_of_an_ensemble_over_views_is_that_of_its_members(home):
    single = np.stack([probabilities(home, "a", tta="flip"), probabilities(home, "b", tta="flip")[:, ::-1]])
    models = open_classifiers([home / "a.safetensors", home / "b.safetensors"], device="cpu")
    results = list(predictor_of_classifier(models, precision="fp32", tta="flip")([home / "films"]))
    np.testing.assert_allclose([each.output for each in results], single.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose([each.spread for each in results], single.std(axis=0), atol=1e-7)


@pytest.mark.parametrize("move", [move for moves in MOVES.values() for move in moves])
def test_a_moved_view_is_opencvs_of_the_same_affine(home, move):
    image = open_image(Sample(home / "films" / "1.png"))
    recipe = find_recipe("none", 64)  # a pixel of the canvas for each of the film
    film = render(image, recipe.evaluation_view(64, 64), recipe.canvas)
    moved = moved_recipe(recipe, move)
    seen = render(image, moved.evaluation_view(64, 64), moved.canvas)
    mirrored = np.ascontiguousarray(film[:, ::-1]) if move.flip else film
    turn = cv2.getRotationMatrix2D((31.5, 31.5), -move.degrees, move.scale)  # OpenCV turns against the clock
    turn[:, 2] += (move.right * 64, move.down * 64)
    expected = cv2.warpAffine(mirrored, turn, (64, 64), flags=cv2.INTER_LINEAR)
    inside = (slice(6, -6), slice(6, -6))
    assert np.abs(seen[inside].astype(int) - expected[inside]).mean() < 1.5
    unmoved = np.abs(film[inside].astype(int) - expected[inside]).mean()
    assert unmoved > 3, "the move must be seen"


def test_names_of_views_are_checked_and_said():
    assert moves_of(None) == (Move(),)
    assert [len(moves_of(text)) for text in ("flip", "flip,flip", "flip, Rotate,shift,scale")] == [2, 2, 10]
    assert described_moves("flip, rotate") == "flip, rotate: the mean of 4 views"
    with pytest.raises(UsageError, match="Unknown augmentation"):
        moves_of("flop")


def test_members_of_other_classes_are_one_sentence(home):
    with pytest.raises(
        UsageError, match=r"edema\.safetensors tells the findings Edema, Mass, and .* the classes NORMAL"
    ):
        open_classifiers([home / "a.safetensors", home / "edema.safetensors"], device="cpu")


def test_thresholds_of_members_are_averaged_by_their_shares(home):
    members = open_classifiers([home / "a.safetensors", home / "b.safetensors"], device="cpu").members
    assert ensemble_of(members).threshold == pytest.approx(0.45)
    assert ensemble_of(members, (0.8, 0.2)).threshold == pytest.approx(0.42)


def test_maps_of_several_models_are_the_mean_of_theirs_at_the_largest_size(home):
    models = [home / "a.safetensors", home / "b.safetensors"]
    film = home / "films" / "2.png"
    (both,) = xraycls.cam(models, film, target="PNEUMONIA", device="cpu")
    (first,), (second,) = (xraycls.cam(each, film, target="PNEUMONIA", device="cpu") for each in models)
    assert first.map is not None
    expected = (cv2.resize(first.map, (48, 48)) + second.map) / 2
    np.testing.assert_allclose(both.map, expected, atol=1e-6)
    assert both.probability == pytest.approx((first.probability + second.probability) / 2, abs=1e-6)
    assert both.picture is not None
