"""Several runs as one: weights chosen on validation, a folder that stands for all, and what its test says."""

import csv
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import xraycls
from xraycls.cli.app import app
from xraycls.errors import RunError, UsageError
from xraycls.workflows.ensemble import make_ensemble

FAST = {
    "base_model": "ResNet18",
    "weights": "none",
    "size": 32,
    "batch_size": 8,
    "epochs": 1,
    "warmup_epochs": 0,
    "precision": "fp32",
    "device": "cpu",
    "threads": 1,
}


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory) -> list[Path]:
    home = tmp_path_factory.mktemp("ensembles")
    return [
        xraycls.train(data=tiny, output=home / f"seed-{seed}", seed=seed, learning_rate=rate, **FAST).run.path
        for seed, rate in ((0, 1e-3), (1, 1e-4))
    ]


def probabilities(model: Path | Sequence[Path], films: Path) -> np.ndarray:
    found, _ = xraycls.predict(model, films, device="cpu", precision="fp32", ood_check=False)
    return np.array([each.probabilities for each in found])


@pytest.fixture(scope="module")
def ensemble(runs, tmp_path_factory):
    return make_ensemble(runs, tmp_path_factory.mktemp("both") / "both", device="cpu", precision="fp32")


@pytest.mark.walkthrough
def test_chosen_weights_have_the_least_loss_of_a_grid_on_validation(runs, ensemble, tiny):
    labels = np.repeat([0, 1], 4)
    told = np.stack([probabilities(run, tiny / "val")[np.arange(8), labels] for run in runs])
    grid = [-np.log(share * told[0] + (1 - share) * told[1]).mean() for share in np.linspace(0, 1, 1001)]
    assert ensemble.images == 8
    assert ensemble.loss == pytest.approx(-np.log(np.dot(ensemble.shares, told)).mean(), abs=1e-5)
    assert ensemble.loss <= min(grid) + 1e-5
    assert ensemble.equal_loss == pytest.approx(grid[500], abs=1e-5)


@pytest.mark.walkthrough
def test_the_folder_predicts_the_weighted_mean_and_says_what_no_member_has_seen(runs, ensemble, tiny, tmp_path, caplog):
    single = np.stack([probabilities(run, tiny / "test") for run in runs])
    expected = np.tensordot(ensemble.shares, single, axes=1)
    np.testing.assert_allclose(probabilities(ensemble.folder, tiny / "test"), expected, atol=1e-6)
    with caplog.at_level(logging.INFO):
        xraycls.test(ensemble.folder, output=tmp_path, device="cpu", precision="fp32", resamples=20)
    told = json.loads((tmp_path / "test.json").read_text())
    assert told["metadata"]["unseen_by_all_members"] == 8
    assert told["metadata"]["shares"] == list(ensemble.shares)
    assert "No member was trained or chosen with 8 of the 8 images" in caplog.text
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open(encoding="utf-8-sig")))
    np.testing.assert_allclose([float(row["p_PNEUMONIA"]) for row in rows], expected[:, 1], atol=1e-6)
    assert {row["seen"] for row in rows} == {"no"}
    at = json.loads((ensemble.folder / "ensemble.json").read_text())["threshold"]
    assert told["at_threshold"]["threshold"] == at


@pytest.mark.walkthrough
def test_images_that_a_member_has_seen_are_told_one_by_one(ensemble, tiny, tmp_path, caplog):
    table = tmp_path / "some.csv"
    films = [*sorted((tiny / "train").rglob("*.jpeg"))[::6], *sorted((tiny / "test").rglob("*.jpeg"))]
    table.write_text("path,label\n" + "".join(f"{film},{film.parent.name}\n" for film in films))
    xraycls.test(ensemble.folder, data=table, output=tmp_path, device="cpu", precision="fp32", resamples=20, tta="flip")
    assert "4 of 12 images were trained or chosen with by a member" in caplog.text
    rows = {Path(row["name"]): row["seen"] for row in csv.DictReader((tmp_path / "predictions.csv").open())}
    assert all(rows[film] == ("yes" if "train" in film.parts else "no") for film in films)
    assert json.loads((tmp_path / "test.json").read_text())["metadata"]["tta"] == "flip: the mean of 2 views"


@pytest.mark.walkthrough
def test_the_command_writes_the_same_folder_and_equal_weights_look_at_no_image(runs, tmp_path):
    called = ["ensemble", *map(str, runs), "-o", str(tmp_path / "equal"), "--weights", "equal"]
    assert CliRunner().invoke(app, called).exit_code == 0
    told = json.loads((tmp_path / "equal" / "ensemble.json").read_text())
    assert told["shares"] == [0.5, 0.5]
    assert told["members"] == [str(run.resolve()) for run in runs]


@pytest.mark.walkthrough
def test_what_cannot_be_an_ensemble_is_one_sentence(runs, ensemble, tmp_path):
    for models, words in (
        (runs[:1], "An ensemble has two members or more"),
        ([ensemble.folder, runs[0]], "several models as one already"),
    ):
        with pytest.raises(UsageError, match=words):
            make_ensemble(models, tmp_path / "new", device="cpu")
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes((runs[1] / "checkpoints" / "best.safetensors").read_bytes())
    with pytest.raises(UsageError, match=r"bare\.safetensors belongs to no run, so nobody knows what it learned from"):
        make_ensemble([runs[0], bare], tmp_path / "new", device="cpu")
    with pytest.raises(UsageError, match="several models as one already"):
        xraycls.predict([ensemble.folder, runs[0]], bare, device="cpu")


@pytest.mark.parametrize("content", ["{", '{"format": 1, "members": ["a"], "shares": [1]}', '{"format": 9}'])
def test_a_damaged_file_of_an_ensemble_is_one_sentence(content, tmp_path):
    (tmp_path / "ensemble.json").write_text(content)
    with pytest.raises(RunError, match=r"ensemble\.json (is damaged|was written by a newer xraycls)"):
        xraycls.predict(tmp_path, tmp_path / "film.png", device="cpu")
