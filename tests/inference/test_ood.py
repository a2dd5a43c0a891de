"""Pictures that are unlike the training data: distances beside scikit-learn's, and the check from training to table."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

import xraycls
from xraycls.cli import main
from xraycls.errors import RunError, UsageError
from xraycls.models.classifier import build_classifier, load_classifier, save_classifier
from xraycls.models.files import read_metadata
from xraycls.models.ood import OOD_KEY, Gaussian, OODCheck, feature_layers, fit_check, pooled_features
from xraycls.training.reporter import Silent
from xraycls.workflows.prune import prune


def features(count, width, seed=0):
    """Features whose variances fall from channel to channel, and whose channels depend on each other."""
    random = np.random.default_rng(seed)
    mixed = np.random.default_rng(9).normal(size=(width, width)) * np.geomspace(3, 0.1, width)[:, None]
    return random.normal(size=(count, width)) @ mixed + 5


@pytest.mark.parametrize("count", [400, 12])
def test_distances_are_those_of_scikit_learns_probabilistic_pca(count):
    training, others = features(count, 20), features(30, 20, 1) * 1.5
    ours = np.exp(Gaussian.fit(training, components=6).log_distances(others))
    theirs = PCA(6, svd_solver="full").fit(training)
    if count < 20:  # it averages over the singular values that there are, not over all directions
        rest = theirs.explained_variance_.tolist()
        total = training.var(axis=0, ddof=1).sum()
        theirs.noise_variance_ = (total - sum(rest)) / (20 - 6)
    apart = others - training.mean(axis=0)
    expected = np.sqrt(np.einsum("nd,de,ne->n", apart, theirs.get_precision(), apart))
    np.testing.assert_allclose(ours, expected, rtol=1e-3)


def test_about_one_in_a_hundred_of_the_same_kind_is_marked_and_all_of_another_kind():
    training, validation = (
        [features(count, 20, seed), features(count, 8, seed)] for count, seed in ((500, 0), (400, 1))
    )
    check = fit_check(["a", "b"], training, validation)
    same = check.distances([features(20_000, 20, 2), features(20_000, 8, 2)])
    assert 0.003 < (same > 1).mean() < 0.03
    assert (check.distances([features(50, 20, 3), features(50, 8, 3) + 40]) > 1).all()


def test_of_few_pictures_the_farthest_is_ordinary():
    training, validation = [features(30, 4)], [features(25, 4, 1)]
    assert fit_check(["a"], training, validation).distances(validation).max() == pytest.approx(1)


def test_channels_that_never_change_divide_nothing_by_zero():
    still = np.hstack([features(50, 4), np.ones((50, 3))])
    check = fit_check(["a"], [still], [still])
    assert np.isfinite(check.distances([still])).all()
    assert check.distances([still + np.eye(7)[6]]).min() > 1


def test_a_check_is_the_same_after_it_was_text():
    check = fit_check(["a", "b"], [features(50, 6), features(50, 3)], [features(40, 6, 1), features(40, 3, 1)])
    again = OODCheck.parse(check.to_text())
    assert again.to_text() == check.to_text()
    pictures = [features(9, 6, 2), features(9, 3, 2)]
    np.testing.assert_array_equal(again.distances(pictures), check.distances(pictures))
    with pytest.raises(RunError, match="another network"):
        check.distances(pictures[::-1])


@pytest.mark.parametrize(
    "change",
    [
        {"layers": ["a"]},
        {"layers": [], "centres": [], "spreads": []},
        {"spreads": [1.0, float("nan")]},
        {"centres": None},
        {"threshold": "far"},
        {"threshold": float("nan")},
        {"arrays": "AAAA"},
        {"arrays": "?"},
        {"arrays": 7},
        {"layers": ["a", "b", "c"], "centres": [1, 1, 1], "spreads": [1, 1, 1]},
    ],
)
def test_a_damaged_check_is_refused_with_its_file(change, tmp_path):
    classifier, _ = build_classifier("timm:test_resnet", ("A", "B"), weights="none", size=32)
    check = fit_check(["a", "b"], [features(50, 6), features(50, 3)], [features(40, 6, 1), features(40, 3, 1)])
    text = json.dumps(json.loads(check.to_text()) | change)
    save_classifier(classifier, tmp_path / "model.safetensors", extra={OOD_KEY: text})
    with pytest.raises(RunError, match=r"model\.safetensors is damaged"):
        xraycls.load_model(tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", ["mean", "axes", "variances"])
def test_a_check_with_a_number_that_is_none_is_refused(name):
    check = fit_check(["a"], [features(50, 6)], [features(40, 6, 1)])
    getattr(check.gaussians[0], name).flat[0] = np.nan
    with pytest.raises(ValueError, match="no distribution"):
        OODCheck.parse(check.to_text())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ResNet18", ["layer1", "layer2", "layer3", "layer4"]),
        ("timm:test_vit", ["patch_embed.proj", "head"]),
    ],
)
def test_the_last_layer_of_each_resolution_is_looked_at(name, expected):
    classifier, _ = build_classifier(name, ("A", "B"), weights="none", size=160 if "vit" in name else 64)
    layers = feature_layers(classifier.eval())
    assert list(layers) == expected
    images = torch.randint(0, 256, (3, 1, classifier.size, classifier.size), dtype=torch.uint8)
    with torch.inference_mode(), pooled_features(classifier, layers) as found:
        logits = classifier(images)
        head = classifier.net.get_submodule(classifier.head)
        torch.testing.assert_close(head(found[layers[-1]]), logits)  # what a head takes is an average, or a token


@pytest.fixture(scope="module")
def run(tmp_path_factory, draw_folder):
    """A run whose validation split is large enough for a check, and what its training said."""
    folder = tmp_path_factory.mktemp("ood")
    draw_folder(folder / "data", {"train": 16, "val": 15, "test": 10})
    said = []

    class Noted(Silent):
        def message(self, text):
            said.append(text)

    settings = {"base_model": "timm:test_resnet", "weights": "none", "size": 64, "batch_size": 8, "epochs": 2}
    done = xraycls.train(
        data=folder / "data", output=folder / "run", device="cpu", precision="fp32", reporter=Noted(), **settings
    )
    return done.run, folder / "data", said


def test_a_training_ends_with_a_check_and_says_what_it_looked_at(run):
    folder, _, said = run
    assert "32 training and 30 validation images" in said[-1]
    assert OOD_KEY in read_metadata(folder.best)
    assert xraycls.load_model(folder.best).ood_check is not None
    before = folder.best.read_bytes()
    xraycls.train(output=folder.path, resume="auto")
    assert folder.best.read_bytes() == before


def test_unlike_pictures_are_marked_on_the_screen_in_the_table_and_in_json(run, tmp_path, capsys):
    folder, data, _ = run
    wide = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((8, 8))).astype(np.uint8) * 255
    cv2.imwrite(str(tmp_path / "chequers.png"), wide)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    films = sorted((data / "test" / "NORMAL").iterdir())
    names = [str(each) for each in (*films, tmp_path / "chequers.png", tmp_path / "broken.png")]
    with pytest.raises(SystemExit):
        main(["predict", str(folder.path), *names, "-o", str(tmp_path / "made")])
    out, err = capsys.readouterr()
    marked = [line for line in out.splitlines() if line.endswith("(unlike training data)")]
    assert any("chequers.png" in line for line in marked)
    assert f"{len(marked)} of {len(names)} images are unlike training data" in err
    rows = list(csv.DictReader((tmp_path / "made" / "predictions.csv").open()))
    assert [row["unlike_training_data"] for row in rows].count("yes") == len(marked) < 4
    assert (rows[-2]["unlike_training_data"], rows[-1]["unlike_training_data"]) == ("yes", "")
    listed = json.loads((tmp_path / "made" / "predictions.json").read_text())
    assert [row["unlike_training_data"] for row in listed[-2:]] == [True, None]
    assert listed[-2]["distance"] > 1 >= min(row["distance"] for row in listed[:-1])


def test_without_the_check_the_probabilities_are_the_same_and_nothing_is_marked(run):
    folder, data, _ = run
    films = sorted((data / "test" / "PNEUMONIA").iterdir())
    (checked, _), (plain, _) = (xraycls.predict(folder.path, films, ood_check=each) for each in (True, False))
    assert [p.probabilities for p in checked] == [p.probabilities for p in plain]
    assert {p.unlike for p in plain} == {None}


def test_pruned_models_and_those_of_before_say_that_there_is_no_check(run, tmp_path, caplog):
    folder, data, _ = run
    film = next((data / "test" / "NORMAL").iterdir())
    caplog.set_level("INFO")
    pruned = prune(folder.path, tmp_path / "slim", threshold=0.5).path
    assert "goes with the filters" in caplog.text
    assert OOD_KEY not in read_metadata(pruned)
    classifier, _ = load_classifier(folder.best)
    save_classifier(classifier, tmp_path / "older.safetensors")
    for model in (pruned, tmp_path / "older.safetensors"):
        caplog.clear()
        (prediction,), _ = xraycls.predict(model, film)
        assert prediction.unlike is None
        assert f"not marked: {model} holds no check" in caplog.text


def test_predictions_replace_only_what_predict_wrote(run, tmp_path, capsys):
    folder, data, _ = run
    film = str(next((data / "test" / "NORMAL").iterdir()))
    for said in ("predictions.json.", "in place of earlier ones."):
        with pytest.raises(SystemExit) as end:
            main(["predict", str(folder.path), film, "-o", str(tmp_path)])
        assert not end.value.code
        assert capsys.readouterr().out.rstrip().endswith(said)
    (tmp_path / "test.json").write_text("{}")
    with pytest.raises(UsageError, match="belongs to a test"):
        main(["predict", "--debug", str(folder.path), film, "-o", str(tmp_path)])
    (tmp_path / "test.json").unlink()
    (tmp_path / "predictions.csv").write_text("my,own,notes\n")
    before = (tmp_path / "predictions.csv").read_bytes()
    with pytest.raises(SystemExit) as end:
        main(["predict", str(folder.path), film, "-o", str(tmp_path)])
    assert end.value.code == 2
    assert (tmp_path / "predictions.csv").read_bytes() == before
