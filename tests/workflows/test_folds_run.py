"""Cross-validation of classifiers: every image is judged once, by a run that knows nothing of its patient."""

import csv
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

import xraycls
from xraycls.errors import DataError, RunError, UsageError
from xraycls.inference.load import load_classifier_model
from xraycls.loaders import cache, pictures
from xraycls.training.interrupt import Interrupted
from xraycls.training.reporter import Silent
from xraycls.workflows import run_data
from xraycls.workflows.folds import FoldsResult, train_folds

FAST = {
    "base_model": "ResNet18",
    "weights": "none",
    "size": 32,
    "batch_size": 4,
    "epochs": 1,
    "warmup_epochs": 0,
    "precision": "fp32",
    "device": "cpu",
    "threads": 1,
    "folds": 3,
    "resamples": 20,
}


def draw(folder: Path, header: str, rows: list[str]) -> Path:
    """A table, and films of noise with a bright corner that they needn't tell."""
    rng = np.random.default_rng(0)
    for number, _ in enumerate(rows):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(20, 200, (40, 44), dtype=np.uint8))
    lines = [header, *(f"{number}.png,{row}" for number, row in enumerate(rows))]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder / "table.csv"


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Twenty images of ten patients, each of one class."""
    rows = [f"{'NORMAL' if number // 2 % 2 else 'PNEUMONIA'},p{number // 2}" for number in range(20)]
    return draw(tmp_path_factory.mktemp("table"), "path,label,patient", rows)


@pytest.fixture(scope="module")
def looked_at() -> dict[str, list[int]]:
    """How many files each reading of the table, each look for their identities and each decoding went through."""
    return {"table": [], "identities": [], "decoded": []}


@pytest.fixture(scope="module")
def done(table, looked_at, tmp_path_factory) -> FoldsResult:
    read, identify, decode = run_data.load_undrawn, run_data.identities, cache.open_image

    def noted(*args, **options):
        found = read(*args, **options)
        looked_at["table"].append(len(found))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_data, "load_undrawn", noted)
        patch.setattr(run_data, "identities", lambda s, p: looked_at["identities"].append(len(s)) or identify(s, p))
        for module in (cache, pictures):
            patch.setattr(module, "open_image", lambda sample: looked_at["decoded"].append(1) or decode(sample))
        return xraycls.train_folds(data=table, output=tmp_path_factory.mktemp("folds") / "all", **FAST)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8-sig")))


def test_every_image_is_predicted_once_by_a_run_that_does_not_know_its_patient(done, table):
    predicted = {Path(row["name"]).name: row for row in rows_of(done.folder / "predictions.csv")}
    assert len(predicted) == len(rows_of(done.folder / "predictions.csv")) == 20
    held_out = []
    for each in done.runs:
        samples = rows_of(each.run.samples)
        patients = {split: {s["patient"] for s in samples if s["split"] == split} for split in ("train", "val", "test")}
        assert not patients["test"] & (patients["train"] | patients["val"])
        assert not patients["train"] & patients["val"]
        own = [Path(s["path"]) for s in samples if s["split"] == "test"]
        again, _ = xraycls.predict(each.run.path, own, device="cpu", ood_check=False)
        for path, prediction in zip(own, again, strict=True):
            row = predicted[path.name]
            assert float(row["p_PNEUMONIA"]) == pytest.approx(prediction.probabilities[1], abs=1e-6)
            assert row["predicted"] == prediction.decided(("NORMAL", "PNEUMONIA"))
        held_out += own
    assert len(set(held_out)) == 20


def test_pooled_figures_are_those_of_scikit_learn_on_the_pooled_predictions(done):
    rows = rows_of(done.folder / "predictions.csv")
    truth = [row["label"] == "PNEUMONIA" for row in rows]
    report = done.test.report
    assert report.figures.overall["auroc"].value == pytest.approx(
        roc_auc_score(truth, [float(row["p_PNEUMONIA"]) for row in rows])
    )
    called = [row["predicted"] == "PNEUMONIA" for row in rows]
    assert report.operating is not None
    assert np.array_equal(report.operating.confusion, confusion_matrix(truth, called))
    thresholds = [load_classifier_model(each.run.path).threshold for each in done.runs]
    sizes = [sum(s["split"] == "test" for s in rows_of(each.run.samples)) for each in done.runs]
    assert report.operating.threshold == pytest.approx(np.average(thresholds, weights=sizes))
    assert report.groups == 10


def test_the_data_are_read_recognised_and_decoded_once_for_all_folds_and_their_test(done, looked_at):
    assert looked_at["table"] == [20]
    assert sum(looked_at["identities"]) == 20
    assert sum(looked_at["decoded"]) == 20


@pytest.mark.walkthrough
def test_one_fold_alone_is_the_same_training(done, table, tmp_path):
    run = xraycls.train(
        data=table, output=tmp_path / "run", fold=1, **{k: v for k, v in FAST.items() if k != "resamples"}
    ).run
    assert run.samples.read_text() == done.runs[1].run.samples.read_text()
    assert run.metrics.read_text().split(",")[:3] == done.runs[1].run.metrics.read_text().split(",")[:3]
    assert xraycls.test(run.path, device="cpu", resamples=20).report.n == len(
        [s for s in rows_of(run.samples) if s["split"] == "test"]
    )


def test_the_folder_of_all_folds_is_one_model(done, table):
    film = table.parent / "0.png"
    (together,), _ = xraycls.predict(done.folder, film, device="cpu", precision="fp32")
    each = [xraycls.predict(one.run.path, film, device="cpu", precision="fp32", ood_check=False) for one in done.runs]
    single = np.array([predictions[0].probabilities for predictions, _ in each])
    assert together.probabilities == pytest.approx(single.mean(axis=0), abs=1e-6)
    assert together.uncertainty == pytest.approx(single.std(axis=0), abs=1e-6)


def test_weights_of_folds_cannot_be_chosen_on_images_that_others_learned_from(done, tmp_path):
    runs = [each.run.path for each in done.runs]
    with pytest.raises(DataError, match=r"Each of the \d+ validation images was learned from by a member"):
        xraycls.make_ensemble(runs, tmp_path / "all", device="cpu")
    assert not (tmp_path / "all").exists()


@pytest.fixture(scope="module")
def findings(tmp_path_factory) -> FoldsResult:
    """Eighteen images of two findings, six of them in a test split of the data's own."""
    rng = np.random.default_rng(1)
    rows = [
        f"p{number},{'test' if number >= 12 else 'train'},{','.join(map(str, rng.integers(0, 2, 2)))}"
        for number in range(18)
    ]
    folder = tmp_path_factory.mktemp("findings")
    data = draw(folder, "path,patient,split,Edema,Mass", rows)
    return xraycls.train_folds(data=data, labels="Edema,Mass", output=folder / "all", **FAST)


@pytest.mark.walkthrough
def test_a_test_split_of_the_data_stays_out_of_the_folds(findings):
    names = {Path(row["name"]).stem for row in rows_of(findings.folder / "predictions.csv")}
    assert names == {str(number) for number in range(12)}
    for each in findings.runs:
        splits = {Path(s["path"]).stem: s["split"] for s in rows_of(each.run.samples)}
        assert {number for number, split in splits.items() if split == "test"} == {str(n) for n in range(12, 18)}
        assert sum(split == "" for split in splits.values()) == 4
    assert xraycls.test(findings.runs[0].run.path, device="cpu", resamples=20).report.n == 6


@pytest.mark.walkthrough
def test_findings_are_called_at_the_thresholds_of_their_fold(findings):
    rows = rows_of(findings.folder / "predictions.csv")
    report = findings.test.report
    for name in ("Edema", "Mass"):
        truth = [name in row["label"].split("|") for row in rows]
        figures = report.findings[name].figures
        assert figures["auroc"].value == pytest.approx(roc_auc_score(truth, [float(row[f"p_{name}"]) for row in rows]))
        called = [name in row["predicted"].split("|") for row in rows]
        assert figures["accuracy"].value == pytest.approx(np.mean(np.equal(truth, called)))


class StopIn(Silent):
    """Presses Ctrl-C after the first step of a fold."""

    def __init__(self, fold: str) -> None:
        self.fold, self.here = fold, False

    def message(self, text):
        self.here = self.here or text.startswith(self.fold)

    def step(self, report):
        if self.here:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.walkthrough
def test_resumed_folds_end_with_the_same_predictions_and_leave_finished_ones_alone(done, table, tmp_path):
    with pytest.raises(Interrupted, match=r"Fold 2: Stopped .* go on with folds=3 resume="):
        xraycls.train_folds(data=table, output=tmp_path / "all", reporter=StopIn("Fold 2"), **FAST)
    first = tmp_path / "all" / "fold-1" / "checkpoints" / "last.pt"
    before = first.stat().st_mtime_ns
    again = xraycls.train_folds(folds=3, resume=tmp_path / "all", resamples=20)
    assert first.stat().st_mtime_ns == before
    assert again.runs[2].config.data == table
    assert (tmp_path / "all" / "predictions.csv").read_bytes() == (done.folder / "predictions.csv").read_bytes()


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"gpus": 2}, UsageError, r"--gpus 2 asks for more. .* xraycls sweep train … --set folds=3 --over fold=0,1,2"),
        ({"folds": 2}, UsageError, "--folds should be greater than or equal to 3"),
        ({"folds": None}, UsageError, "how many folds"),
        ({"fold": 1}, UsageError, "fold=1 is one run"),
        ({"test_fraction": 0.3}, UsageError, "--test-fraction and --folds don't go together"),
        ({"resume": "auto", "output": None}, UsageError, "Name their folder with --output"),
        ({"resume": "nowhere"}, RunError, "nowhere holds no folds"),
    ],
)
def test_wishes_that_cannot_be_met_are_one_sentence(settings, error, words, table, tmp_path):
    with pytest.raises(error, match=words):
        train_folds(**{"data": table, "output": tmp_path / "all", **FAST, **settings})
    assert not list(tmp_path.rglob("*.yaml"))


def test_a_folder_of_folds_takes_no_other_training(done, table):
    plain = {name: value for name, value in FAST.items() if name not in ("folds", "resamples")}
    with pytest.raises(UsageError, match="holds the folds of a training"):
        xraycls.train(data=table, output=done.folder, **plain)
    with pytest.raises(UsageError, match="already holds a run"):
        xraycls.train_folds(data=table, output=done.folder, **FAST)
    with pytest.raises(UsageError, match=r"Call xraycls\.train_folds"):
        xraycls.train(data=table, **plain, folds=3)
