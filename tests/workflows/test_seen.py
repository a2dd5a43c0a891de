import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from xraycls.data.identity import SAME, identities, known_among, read_identities, signature
from xraycls.data.open import read_grey
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, RunError
from xraycls.training.run_folder import RunFolder
from xraycls.types import Sample
from xraycls.workflows.resume import in_order_of
from xraycls.workflows.test import test as run_test
from xraycls.workflows.train import train


def film(seed: int, side: int = 96) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 256, (14, 14), dtype=np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + rng.normal(0, 4, (side, side)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A set without splits of its own, a run trained on it, and a few films that the run has never seen."""
    home = tmp_path_factory.mktemp("seen")
    for label, name in enumerate(("Normal", "Pneumonia")):
        (home / "data" / name).mkdir(parents=True)
        (home / "other" / name).mkdir(parents=True)
        for n in range(14):
            cv2.imwrite(str(home / "data" / name / f"{name}-{n}.png"), film(100 * label + n))
        for n in range(3):
            cv2.imwrite(str(home / "other" / name / f"{n}.png"), film(1000 + 100 * label + n))
    train(
        data=home / "data", output=home / "run", base_model="resnet18", weights="none", size=32, epochs=1, batch_size=8,
        device="cpu", threads=0,
    )  # fmt: skip
    return home


def count_of(home: Path, data: Path, **settings: object) -> int:
    return run_test(
        home / "run", data=data, output=data.parent / "out", device="cpu", resamples=20, **settings
    ).report.n


def test_a_copied_set_is_tested_on_the_split_that_was_drawn(home, tmp_path, caplog):
    shutil.copytree(home / "data", tmp_path / "copy")
    with caplog.at_level(logging.INFO):
        assert count_of(home, tmp_path / "copy") == 4
    assert "so its splits are taken" in caplog.text
    assert "too good" not in caplog.text


@pytest.mark.walkthrough
@pytest.mark.parametrize(
    "change", ["rename", "encode", *(pytest.param(one, marks=pytest.mark.exhaustive) for one in ("resize", "brighten"))]
)
def test_copies_are_recognised_by_content(home, tmp_path, caplog, change):
    for path in (home / "data").rglob("*.png"):
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        target = tmp_path / "copy" / path.parent.name / f"x{path.stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        if change == "rename":
            shutil.copy(path, target)
        elif change == "encode":
            cv2.imwrite(str(target.with_suffix(".jpg")), picture, [cv2.IMWRITE_JPEG_QUALITY, 70])
        elif change == "resize":
            cv2.imwrite(str(target), cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA))
        else:
            cv2.imwrite(str(target), np.clip(picture * 0.8 + 10, 0, 255).astype(np.uint8))
    assert count_of(home, tmp_path / "copy") == 28
    assert "24 of 28 images were trained or chosen with" in caplog.text
    caplog.clear()
    assert count_of(home, tmp_path / "copy", unseen_only=True) == 4
    assert "24 of 28 images were trained or chosen with and are left out" in caplog.text


def test_other_films_are_not_taken_for_known_ones(home, tmp_path, caplog):
    shutil.copytree(home / "other", tmp_path / "other")
    assert count_of(home, tmp_path / "other") == 6
    assert "trained or chosen with" not in caplog.text


def test_a_table_that_names_the_files_of_the_run(home, tmp_path, caplog):
    rows = "".join(f"{path},{path.parent.name}\n" for path in sorted((home / "data").rglob("*.png")))
    (tmp_path / "all.csv").write_text("path,label\n" + rows)
    assert count_of(home, tmp_path / "all.csv") == 28
    assert "24 of 28" in caplog.text


def test_nothing_unseen_is_an_error(home, tmp_path):
    rows = (home / "run/samples.csv").read_text().splitlines()[1:]
    trained = [row.split(",")[:2] for row in rows if ",train," in row]
    (tmp_path / "train.csv").write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in trained))
    with pytest.raises(DataError, match="All 20 images"):
        count_of(home, tmp_path / "train.csv", unseen_only=True)


def test_data_that_was_moved_is_asked_for(home, tmp_path):
    shutil.copytree(home / "run", tmp_path / "run")
    config = tmp_path / "run/config.yaml"
    config.write_text(config.read_text().replace(str(home / "data"), str(tmp_path / "gone")))
    with pytest.raises(DataError, match=r"gone, which .*run was trained on, is not there\. Say where .* --data"):
        run_test(tmp_path / "run", device="cpu")


def test_a_missing_set_is_named_without_the_phantom(home, tmp_path):
    (tmp_path / "films").mkdir()
    with pytest.raises(DataError, match=r"There is no file or folder .*film\. Did you mean .*films\?"):
        run_test(home / "run", data=tmp_path / "film", device="cpu")


def test_other_classes_suggest_their_mapping(home, tmp_path):
    from xraycls.data.options import ReadOptions

    for ours, theirs in (("Normal", "No Finding"), ("Pneumonia", "COVID-19")):
        shutil.copytree(home / "other" / ours, tmp_path / "set" / theirs)
    with pytest.raises(
        RunError, match=r"rename them with --map 'COVID-19=Pneumonia,No Finding=Normal'|'No Finding=Normal"
    ):
        count_of(home, tmp_path / "set")
    assert count_of(home, tmp_path / "set", options=ReadOptions(class_map="COVID-19=Pneumonia,No Finding=Normal")) == 6


def test_runs_of_earlier_versions_have_no_identities(home, tmp_path, caplog):
    shutil.copytree(home / "run", tmp_path / "run")
    (tmp_path / "run/seen.safetensors").write_bytes(b"damaged")
    assert read_identities(tmp_path / "run/seen.safetensors") is None
    (tmp_path / "run/seen.safetensors").unlink()
    result = run_test(tmp_path / "run", data=home / "other", output=tmp_path / "out", device="cpu", resamples=20)
    assert result.report.n == 6


def test_flat_and_unreadable_pictures_are_like_nothing(tmp_path):
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((40, 40), 7, np.uint8))
    cv2.imwrite(str(tmp_path / "flat2.png"), np.full((41, 40), 9, np.uint8))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = identities([Sample(tmp_path / name) for name in ("flat.png", "broken.png", "missing.png")])
    other = identities([Sample(tmp_path / "flat2.png"), Sample(tmp_path / "nowhere.png")])
    assert not known_among(found, other).any()
    assert known_among(found, found).tolist() == [True, False, False]
    assert known_among(found, identities([])).tolist() == [False] * 3


def test_real_films_keep_apart_and_their_copies_together(shared):
    paths = sorted((shared / "data/kermany_224").rglob("*.jpeg"))[::40]
    pictures = [read_grey(path) for path in paths]
    rows = np.stack([signature(picture) for picture in pictures]).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    alike = rows @ rows.T
    np.fill_diagonal(alike, 0)
    assert alike.max() < SAME - 0.03
    for picture, row in zip(pictures[::5], rows[::5], strict=True):
        smaller = cv2.resize(picture, (112, 112), interpolation=cv2.INTER_AREA)
        again = cv2.imdecode(cv2.imencode(".jpg", smaller, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_GRAYSCALE)
        copy = signature(again).astype(np.float32)
        assert row @ copy / np.linalg.norm(copy) > SAME + 0.02


@pytest.mark.parametrize(("before", "expected"), [(("b", "a"), ("b", "a")), (("b", "c"), ("a", "b"))])
def test_classes_come_in_the_order_of_the_run_where_they_are_the_same(tmp_path, before, expected):
    run = RunFolder(tmp_path / "run")
    run.write_environment({"classes": before})
    samples = tuple(Sample(tmp_path / f"{number}.png", label=number % 2) for number in range(4))
    table = in_order_of(run, SampleTable(samples, ("a", "b"), tmp_path, "files"))
    assert table.classes == expected
    assert [table.classes[sample.label] for sample in table] == ["a", "b", "a", "b"]
