"""A frozen backbone's features are computed once: the run ends as one that computes them in every epoch."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import xraycls
from xraycls.data.table import SampleTable
from xraycls.loaders.sampler import Sampler
from xraycls.models.classifier import build_classifier
from xraycls.training.config import parse_config
from xraycls.training.probe import FeatureLoader, Features, can_be_probed, dropout_before_head
from xraycls.training.reporter import Silent
from xraycls.types import Sample
from xraycls.workflows import train as train_workflow
from xraycls.workflows.settings import resolved

FAST = {
    "base_model": "ResNet18",
    "weights": "none",
    "freeze": "backbone",
    "size": 32,
    "batch_size": 6,
    "epochs": 3,
    "learning_rate": 0.01,
    "warmup_epochs": 0,
    "schedule": "constant",
    "precision": "fp32",
    "device": "cpu",
    "threads": 1,
}


class Listener(Silent):
    def __init__(self):
        self.said = []

    def message(self, text):
        self.said.append(text)


@pytest.fixture(scope="module")
def films(draw_folder, tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("films") / "data", {"train": 12, "val": 4, "test": 1})


@pytest.fixture(scope="module")
def probe(films, tmp_path_factory):
    listener = Listener()
    folder = tmp_path_factory.mktemp("probe")
    run = xraycls.train(data=films, output=folder / "run", reporter=listener, cache=str(folder / "kept"), **FAST).run
    return run, listener.said, folder


def test_head_and_figures_are_those_of_running_the_network_in_every_epoch(films, probe, tmp_path, monkeypatch):
    monkeypatch.setattr(train_workflow, "is_probe", lambda *_: False)
    whole = xraycls.train(data=films, output=tmp_path / "run", **FAST).run
    run, _, _ = probe
    mine, theirs = load_file(run.last), load_file(whole.last)
    assert mine.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.allclose(mine[name], tensor, rtol=1e-4, atol=1e-5), name
    for row, expected in zip(run.read_metrics(), whole.read_metrics(), strict=True):
        assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-4)
        assert row["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-4)


def test_features_are_read_again_where_network_and_pictures_are_the_same(films, probe, tmp_path):
    run, said, folder = probe
    assert sum("were computed once" in text for text in said) == 2
    kept = sorted((folder / "kept").glob("features/*.safetensors"))
    assert len(kept) == 2
    kept[0].write_bytes(b"damaged")
    listener = Listener()
    again = xraycls.train(
        data=films, output=tmp_path / "run", reporter=listener, cache=str(folder / "kept"), **FAST | {"epochs": 1}
    )
    assert sum("were computed once" in text for text in listener.said) == 1
    assert sum("come from" in text for text in listener.said) == 1
    assert again.run.read_metrics()[0]["train_loss"] == run.read_metrics()[0]["train_loss"]


def test_the_run_is_one_like_any_other(films, probe):
    run, _, _ = probe
    predictions, classes = xraycls.predict(run.path, [films / "test" / "PNEUMONIA"])
    assert classes == ("NORMAL", "PNEUMONIA")
    assert len(predictions) == 1


def test_a_frozen_backbone_sees_pictures_as_they_are_unless_asked_otherwise():
    assert resolved(parse_config({"freeze": "backbone"})).augment == "none"
    assert resolved(parse_config({"freeze": "backbone", "augment": "classic2021"})).augment == "classic2021"
    assert resolved(parse_config({"freeze": "2"})).augment == "radiograph"


def test_a_head_of_one_vector_a_picture_is_probed_with_the_dropout_before_it():
    googlenet, _ = build_classifier("googlenet", ["a", "b"], weights="none", size=32)
    assert can_be_probed(googlenet)
    assert dropout_before_head(googlenet) == 0.2
    assert googlenet.training
    squeezenet, _ = build_classifier("torchvision:squeezenet1_1", ["a", "b"], weights="none", size=32)
    assert not can_be_probed(squeezenet)


def test_pictures_that_could_not_be_read_weigh_nothing():
    table = SampleTable(tuple(Sample(Path(f"{row}.png"), row % 2) for row in range(5)), ("a", "b"), Path(), "folder")
    features = Features(torch.arange(10.0).view(5, 2), torch.tensor([True, True, False, True, True]), {})
    loader = FeatureLoader(features, table, Sampler(table.labels, 2, training=True))
    loader.set_epoch(3)
    batches = list(loader)
    assert len(batches) == len(loader) == 3
    rows = torch.cat([batch.indices for batch in batches])
    weights = torch.cat([batch.weights for batch in batches])
    assert sorted(rows[weights > 0].tolist()) == [0, 1, 3, 4]
    assert torch.equal(torch.cat([batch.images for batch in batches]), features.values[rows])
    assert torch.equal(torch.cat([batch.labels for batch in batches]), rows % 2)
    loader.set_epoch(3, 2)
    (last,) = loader
    assert torch.equal(last.indices, batches[-1].indices)
