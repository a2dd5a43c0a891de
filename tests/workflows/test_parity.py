"""Parity: every engine draws the pictures of torch, and what draws others is found out."""

import logging
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from xraycls.data.folder import read_folder
from xraycls.data.phantom import write_phantom
from xraycls.data.prepare import prepare
from xraycls.errors import DataError, RunError, UsageError, XrayclsError
from xraycls.loaders.choose import build_loader
from xraycls.loaders.dali_graph import is_installed
from xraycls.loaders.recipes.classification import find_recipe
from xraycls.loaders.resident_engine import ResidentLoader
from xraycls.models.classifier import build_classifier, save_classifier
from xraycls.workflows import parity as workflow
from xraycls.workflows.parity import logits_of, parity, random_classifier
from xraycls.workflows.parity_report import Drawn, compare, save_worst

CPU_ENGINES = (["dali on cpu"] if is_installed() else []) + ["resident on cpu"]
FAST = {"device": "cpu", "threads": 1}
SIZE = 160


def pictures_of(table, size):
    loader = build_loader(
        table, find_recipe("none", size), batch_size=32, training=False, device=torch.device("cpu"), threads=1
    )
    return np.concatenate([batch.images.numpy()[:, 0] for batch in loader])


@pytest.fixture(scope="module")
def trained(shared, tmp_path_factory):
    """Weights of a classifier that tells pneumonia: ImageNet features of a MobileNetV2 under a logistic regression."""
    table = read_folder(shared / "data" / "kermany_native")
    classifier, _ = build_classifier("torchvision:mobilenet_v2", table.classes, weights="none", size=SIZE)
    features = torch.load(shared / "weights" / "mobilenet_v2-dsr-imagenet1k-features.pth", weights_only=True)
    assert classifier.net.load_state_dict(features, strict=False).missing_keys == [
        f"{classifier.head}.weight",
        f"{classifier.head}.bias",
    ]
    head = classifier.net.get_submodule(classifier.head)
    inputs = []
    hook = head.register_forward_hook(lambda module, given, output: inputs.append(given[0]))
    logits_of(classifier.eval(), pictures_of(table, SIZE), batch_size=32)
    hook.remove()
    fitted = LogisticRegression(max_iter=1000).fit(torch.cat(inputs).numpy(), table.labels)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(np.concatenate([-fitted.coef_, fitted.coef_]) / 2))
        head.bias.copy_(torch.from_numpy(np.concatenate([-fitted.intercept_, fitted.intercept_]) / 2))
    path = tmp_path_factory.mktemp("trained") / "classifier.safetensors"
    save_classifier(classifier, path)
    return path


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder, images=12)
    return folder


def spoil(monkeypatch, change):
    """Let the resident engine deliver changed pictures."""
    honest = ResidentLoader._finished
    monkeypatch.setattr(
        ResidentLoader, "_finished", lambda self, batch, images, failed: honest(self, batch, change(images), failed)
    )


def by_engine(result):
    return {(c.engine, c.view): c for c in result.comparisons}


@pytest.mark.walkthrough
def test_real_radiographs_are_the_same_to_a_trained_model_in_every_engine(shared, trained):
    result = parity(shared / "data" / "kermany_native", images=48, model=trained, **FAST)
    assert list(by_engine(result)) == [(e, v) for e in CPU_ENGINES for v in ("evaluation", "training")]
    assert result.beyond == ()
    assert result.is_trained
    assert (result.size, result.images) == (SIZE, 48)
    for row in result.comparisons:
        assert row.images == 48
        assert row.mean <= {"evaluation": 1.0, "training": 2.5}[row.view]
        assert row.percentile_99 <= 16
        if row.engine.startswith("dali"):  # whose large films are drawn as torch's
            assert row.mean <= row.worst < 1
            continue
        assert 0 < row.mean < row.worst < 6
        assert 0 < row.logits_mean < row.logits_largest
        assert 0 < row.probabilities_mean < row.probabilities_largest < 1
    assert all(row.same_top1 == 1 for row in result.comparisons if row.view == "evaluation")


@pytest.mark.walkthrough
def test_large_grey_pngs_are_the_same_in_every_engine(shared):
    result = parity(shared / "data" / "nih_rsna_bbox", images=8, **FAST)
    assert result.beyond == ()
    assert len(result.comparisons) == 2 * len(CPU_ENGINES)


@pytest.mark.walkthrough
def test_a_prepared_store_is_the_same_in_every_engine(shared, tmp_path):
    source = tmp_path / "source"
    for name in ("NORMAL", "PNEUMONIA"):
        (source / name).mkdir(parents=True)
        for path in sorted((shared / "data" / "kermany_native" / name).glob("*.jpeg"))[:4]:
            shutil.copy(path, source / name)
    prepare(source, tmp_path / "store", threads=1)
    files = by_engine(parity(source, **FAST))
    store = by_engine(parity(tmp_path / "store", **FAST))
    assert files.keys() == store.keys()
    for row in store.values():
        assert not row.beyond
        assert row.images == 8
    # Both read the same copies, where from files torch sees more than the resident engine kept.
    key = ("resident on cpu", "evaluation")
    assert store[key].mean < files[key].mean / 2


@pytest.mark.walkthrough
def test_phantoms_are_the_same_in_every_engine_and_a_seed_repeats_it(phantom):
    first, again = (parity(phantom, images=8, augment="classic2021", **FAST) for _ in range(2))
    assert first.beyond == ()
    assert first.comparisons == again.comparisons
    assert not first.is_trained
    assert first.absent.keys() >= {"dali on cuda", "resident on cuda"}
    largest = max(first.comparisons, key=lambda row: row.worst)
    assert first.worst.comparison == largest
    difference = np.abs(first.worst.reference.astype(float) - first.worst.other)
    assert difference.mean() == pytest.approx(largest.worst)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("augment", ["radiograph", "classic2021"])
def test_phantoms_are_the_same_in_every_engine_of_a_gpu(phantom, augment):
    result = parity(phantom, images=12, augment=augment, device="cuda", threads=2)
    expected = [*CPU_ENGINES, *(name.replace("cpu", "cuda:0") for name in CPU_ENGINES)]
    assert list(dict.fromkeys(row.engine for row in result.comparisons)) == expected
    assert result.beyond == ()


@pytest.mark.walkthrough
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda images: images.roll(1, dims=-1), id="shifted by a pixel"),
        pytest.param(lambda images: images.flip(-1), id="flipped", marks=pytest.mark.exhaustive),
        pytest.param(lambda images: images.clamp(max=252) + 3, id="brighter", marks=pytest.mark.exhaustive),
        pytest.param(lambda images: images.roll(1, dims=0), id="pictures exchanged", marks=pytest.mark.exhaustive),
    ],
)
def test_a_fault_of_an_engine_is_found_and_named(phantom, monkeypatch, fault):
    honest = by_engine(parity(phantom, images=8, size=SIZE, **FAST))["resident on cpu", "evaluation"]
    assert honest.beyond == ()
    spoil(monkeypatch, fault)
    result = parity(phantom, images=8, size=SIZE, **FAST)
    rows = by_engine(result)
    assert len(rows["resident on cpu", "evaluation"].beyond) == 1
    assert all("resident on cpu draws" in sentence for sentence in result.beyond)
    assert result.worst.comparison.engine == "resident on cpu"


def test_a_changed_top1_is_held_against_an_engine_by_a_trained_model_only(tiny, tmp_path, monkeypatch):
    classifier, _ = build_classifier("ResNet18", ["NORMAL", "PNEUMONIA"], weights="none", size=32)
    table = read_folder(tiny)
    classifier = random_classifier(pictures_of(table, 32), seed=0, batch_size=32, device=torch.device("cpu"))
    save_classifier(classifier, tmp_path / "any.safetensors")
    spoil(monkeypatch, lambda images: 255 - images)
    by_random = by_engine(parity(tiny, size=32, **FAST))["resident on cpu", "evaluation"]
    by_model = by_engine(parity(tiny, model=tmp_path / "any.safetensors", **FAST))["resident on cpu", "evaluation"]
    assert by_random.same_top1 < 1
    assert by_model.same_top1 < 1
    assert len(by_random.beyond) == 1
    assert len(by_model.beyond) == 2
    assert "top-1" in by_model.beyond[1]


@pytest.mark.walkthrough
def test_files_that_no_engine_can_read_are_left_out_counted_and_told_of_once(phantom, tmp_path, caplog):
    data = shutil.copytree(phantom, tmp_path / "data")
    bad = sorted((data / "train" / "NORMAL").iterdir())[0]
    bad.write_bytes(b"no picture at all")
    caplog.set_level(logging.WARNING, logger="xraycls")
    result = parity(data, images=100, size=SIZE, batch_size=5, **FAST)
    assert result.images == 12
    assert list(result.unreadable) == [f"train/NORMAL/{bad.name}"]
    assert {row.images for row in result.comparisons} == {11}
    assert result.beyond == ()
    told = [record.getMessage() for record in caplog.records]
    assert len([message for message in told if str(bad) in message]) == 1
    assert len([message for message in told if "holds 12 pictures only" in message]) == 1
    with pytest.raises(DataError, match=bad.name):
        parity(data, images=100, size=SIZE, strict=True, **FAST)


def test_an_engine_that_cannot_read_what_torch_can_is_beyond(tiny, monkeypatch):
    honest = ResidentLoader._finished
    monkeypatch.setattr(ResidentLoader, "_finished", lambda self, batch, images, _: honest(self, batch, images, {0}))
    row = by_engine(parity(tiny, images=8, size=32, batch_size=8, **FAST))["resident on cpu", "evaluation"]
    assert row.images == 8
    assert "1 of the evaluation pictures" in row.beyond[0]


def test_only_unreadable_files_are_one_sentence(tmp_path):
    for name in ("NORMAL", "PNEUMONIA"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(b"no")
    with pytest.raises(DataError, match="None of the 2 pictures"):
        parity(tmp_path, size=32, **FAST)


def test_pictures_come_from_all_classes_alike_and_follow_from_the_seed(tmp_path, draw_folder):
    draw_folder(tmp_path, {"train": 6})
    for path in sorted((tmp_path / "train" / "NORMAL").glob("*"))[2:]:
        path.unlink()
    table = read_folder(tmp_path)
    few = workflow._spread(table, 4, seed=0)
    assert list(few.counts().values()) == [2, 2]
    assert list(workflow._spread(table, 7, seed=0).counts().values()) == [2, 5]
    assert workflow._spread(table, 99, seed=0) == table
    assert few == workflow._spread(table, 4, seed=0)
    assert len({workflow._spread(table, 4, seed=seed).samples for seed in range(8)}) > 1
    assert list(few) == sorted(few, key=lambda sample: sample.path)


def test_engines_that_cannot_run_are_listed_with_the_reason(tiny, monkeypatch):
    monkeypatch.setattr(workflow, "is_installed", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = parity(tiny, images=2, size=32, **FAST)
    assert {row.engine for row in result.comparisons} == {"resident on cpu"}
    assert "pip install" in result.absent["dali on cpu"]
    assert result.absent["dali on cuda"] == result.absent["resident on cuda"] == "no CUDA GPU"


def test_an_engine_that_refuses_to_start_is_listed_too(tiny, monkeypatch):
    def refuse(*_):
        raise UsageError("no room for these pictures")

    monkeypatch.setattr(ResidentLoader, "_decoded", refuse)
    if is_installed():
        assert "no room" in parity(tiny, images=2, size=32, **FAST).absent["resident on cpu"]
    monkeypatch.setattr(workflow, "is_installed", lambda: False)
    with pytest.raises(XrayclsError, match=r"No engine but torch .* no room"):
        parity(tiny, images=2, size=32, **FAST)


def test_a_single_picture_is_enough(tiny):
    assert {row.images for row in parity(tiny, images=1, size=32, **FAST).comparisons} == {1}


@pytest.mark.parametrize(
    ("wrong", "error", "sentence"),
    [
        ({"images": 0}, UsageError, "0 pictures leave nothing to compare"),
        ({"augment": "radiogram"}, UsageError, "Did you mean radiograph"),
        ({"size": 4}, UsageError, "--size 4"),
        ({"size": 12}, UsageError, "at least 16 pixels"),
        ({"model": "nothing-of-that-name"}, RunError, "nothing-of-that-name"),
        ({"data": "no/such/folder"}, DataError, "no/such/folder"),
    ],
)
def test_bad_input_is_one_sentence(tiny, wrong, error, sentence):
    with pytest.raises(error, match=sentence):
        parity(**{"data": tiny, "images": 2, "size": 32, **FAST, **wrong})


def test_a_size_that_is_not_the_models_is_refused(tiny, tmp_path):
    classifier, _ = build_classifier("ResNet18", ["NORMAL", "PNEUMONIA"], weights="none", size=32)
    save_classifier(classifier, tmp_path / "small.safetensors")
    assert parity(tiny, images=2, model=tmp_path / "small.safetensors", **FAST).size == 32
    with pytest.raises(UsageError, match="32 pixels, not of --size 48"):
        parity(tiny, images=2, size=48, model=tmp_path / "small.safetensors", **FAST)


def test_logits_of_random_weights_tell_pictures_apart_and_follow_from_the_seed(tiny):
    pictures = pictures_of(read_folder(tiny), 32)
    first, again, other = (
        logits_of(random_classifier(pictures, seed=s, batch_size=16, device=torch.device("cpu")), pictures, 16)
        for s in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
    assert first.mean(axis=0) == pytest.approx(0, abs=1e-4)
    assert first.std(axis=0) == pytest.approx(1, abs=1e-4)
    assert set(first.argmax(axis=1)) == {0, 1}


def test_the_worst_pair_is_drawn_side_by_side_with_its_difference(tiny, tmp_path):
    result = parity(tiny, images=2, size=32, **FAST)
    left, right = np.full((50, 50), 60, np.uint8), np.full((50, 50), 60, np.uint8)
    left[10:20, 5:15] = 190
    right[10:20, 8:18] = 190
    save_worst(replace(result, worst=replace(result.worst, reference=left, other=right)), tmp_path / "a" / "worst.png")
    drawn = cv2.imread(str(tmp_path / "a" / "worst.png"))
    height = drawn.shape[0]
    middle = drawn[int(0.3 * height) : int(0.8 * height)]
    edges = np.flatnonzero(np.diff((middle < 255).all(axis=(0, 2))))
    panels = [drawn[:, edges[i] + 1 : edges[i + 1] + 1] for i in (0, 2, 4)]
    rows = np.flatnonzero((panels[0] < 255).all(axis=(1, 2)))
    first, second, third = (cv2.resize(p[rows[0] : rows[-1]], (50, 50), interpolation=cv2.INTER_AREA) for p in panels)
    assert np.abs(first.astype(int) - left[..., None]).mean() < 3
    assert np.abs(second.astype(int) - right[..., None]).mean() < 3
    bright = third.sum(axis=2) > 200
    assert (bright == (left != right)).mean() > 0.98
    assert bright.any()


def test_figures_are_those_of_brute_force():
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (5, 6, 6), dtype=np.uint8) for _ in range(2)]
    logits = [rng.normal(size=(5, 3)) for _ in range(2)]
    readable = np.array([True, True, False, True, True])
    drawn = [Drawn(each, readable, {}) for each in pictures]
    row, pair = compare("x", "evaluation", tuple(drawn), tuple(logits), list("abcde"), judge_top1=True)
    kept = [0, 1, 3, 4]
    differences = [[abs(int(a) - int(b)) for a, b in zip(*(p[i].flat for p in pictures), strict=True)] for i in kept]
    means = [sum(d) / 36 for d in differences]
    assert row.images == 4
    assert row.mean == pytest.approx(sum(means) / 4)
    assert row.percentile_99 == pytest.approx(np.quantile(np.concatenate(differences), 0.99))
    assert row.worst == pytest.approx(max(means))
    assert row.worst_image == "abde"[int(np.argmax(means))]
    assert np.array_equal(pair.reference, pictures[0][kept[int(np.argmax(means))]])
    before, after = (torch.from_numpy(each)[kept] for each in logits)
    assert row.logits_mean == pytest.approx((before - after).abs().mean().item())
    assert row.logits_largest == pytest.approx((before - after).abs().max().item())
    shift = (before.softmax(1) - after.softmax(1)).abs()
    assert row.probabilities_mean == pytest.approx(shift.mean().item())
    assert row.probabilities_largest == pytest.approx(shift.max().item())
    assert row.same_top1 == (before.argmax(1) == after.argmax(1)).double().mean().item()
