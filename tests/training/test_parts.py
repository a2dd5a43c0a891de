"""Optimisers, precision, checkpoints and errors of the training stage."""

import errno
import math
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from xraycls.data.files import atomic_write, share_file
from xraycls.errors import RunError, TrainingError, UsageError, XrayclsError
from xraycls.training import precision
from xraycls.training.checkpoint import load_state, save_state
from xraycls.training.config import TrainConfig, parse_config, read_config
from xraycls.training.memory import explained_out_of_memory
from xraycls.training.optimizers import OPTIMIZERS, build_optimizer
from xraycls.training.precision import (
    autocast,
    choose_device,
    choose_precision,
    computes_bf16,
    memory_format_of_detectors,
    validated_precision,
)
from xraycls.training.run_folder import RunFolder
from xraycls.training.task import balanced_class_weights


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimiser_lowers_the_loss_and_spares_frozen_parameters(name):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    net[0].weight.requires_grad = False
    frozen = net[0].weight.clone()
    x, y = torch.randn(64, 4), torch.randint(2, (64,))
    optimizer = build_optimizer(name.upper(), net.parameters(), 0.01, 0.01)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert torch.equal(net[0].weight, frozen)


def test_biases_and_normalisation_are_not_decayed():
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
    decayed, spared = build_optimizer("adamw", net.parameters(), 1e-3, 0.3).param_groups
    assert [p.ndim for p in decayed["params"]] == [2]
    assert decayed["weight_decay"] == 0.3
    assert {p.ndim for p in spared["params"]} == {1}
    assert spared["weight_decay"] == 0.0


def test_unknown_optimiser_names_the_nearest():
    with pytest.raises(UsageError, match="Did you mean adamw, adam"):
        build_optimizer("adamww", [], 1e-3, 0.0)


def test_precision_is_bf16_exactly_where_the_device_computes_it():
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu) == ("bf16" if computes_bf16(cpu) else "fp32")
    with autocast(cpu, "bf16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with autocast(cpu, "fp32"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        choose_precision("fp16", cpu)


@pytest.mark.parametrize("able", [True, False])
def test_answers_are_computed_in_the_precision_of_validation_where_the_device_has_it(monkeypatch, able):
    monkeypatch.setattr(precision, "computes_bf16", lambda device: able)
    cpu, own = torch.device("cpu"), "bf16" if able else "fp32"
    expected = {"fp32": "fp32", "bf16": own, "fp16": own, None: own, "something": own}
    assert {validated: validated_precision("auto", validated, cpu) for validated in expected} == expected
    assert validated_precision("fp32", "bf16", cpu) == "fp32"
    assert validated_precision("bf16", "fp32", cpu) == "bf16"


@pytest.mark.parametrize(
    ("device", "number", "layout"),
    [
        ("cpu", "fp32", torch.contiguous_format),
        ("cpu", "bf16", torch.channels_last),
        ("cuda", "fp32", torch.channels_last),
        ("cuda", "fp16", torch.channels_last),
    ],
)
def test_maps_of_detectors_are_contiguous_in_fp32_on_a_cpu_alone(device, number, layout):
    detector = torch.nn.Sequential(torch.nn.Conv2d(4, 8, 1), torch.nn.Conv2d(8, 8, 3, groups=4))
    assert memory_format_of_detectors(torch.device(device), number, detector) == layout


def test_maps_of_depthwise_convolutions_lie_channels_last():
    detector = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 1), torch.nn.Conv2d(8, 8, 3, groups=8))
    assert memory_format_of_detectors(torch.device("cpu"), "fp32", detector) == torch.channels_last


def test_devices_that_are_not_there_are_one_sentence():
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(UsageError, match="Unknown device 'gpu0'"):
        choose_device("gpu0")
    with pytest.raises(UsageError, match="cuda:99"):
        choose_device("cuda:99")


def test_balanced_weights_are_scikit_learns():
    import numpy as np
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0] * 5 + [1] * 20 + [3] * 15)
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=labels)
    assert balanced_class_weights(labels, 4).numpy()[[0, 1, 3]] == pytest.approx(expected)
    assert balanced_class_weights(labels, 4)[2] == 0


BARE = {"epoch": 1, "step": 0, "plateaus": 0, "model": {}}
"""What every training state holds at least."""


def test_states_round_trip(tmp_path):
    state = {**BARE, "epoch": 3, "model": {"a": torch.arange(4.0)}, "best": math.inf, "rows": [{"loss": 0.5}]}
    save_state(state, tmp_path / "last.pt")
    found = load_state(tmp_path / "last.pt")
    assert torch.equal(found["model"]["a"], torch.arange(4.0))
    assert (found["epoch"], found["best"], found["rows"]) == (3, math.inf, [{"loss": 0.5}])


class Bomb:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", [torch.save, lambda bomb, path: path.write_bytes(pickle.dumps(bomb))])
def test_a_pickle_bomb_is_refused_and_not_executed(tmp_path, write):
    trap = tmp_path / "executed"
    path = tmp_path / "last.pt"
    write(Bomb(trap), path)
    with pytest.raises(RunError, match=r"last\.pt"):
        load_state(path)
    assert not trap.exists()


def test_a_checkpoint_cut_short_is_one_sentence(tmp_path):
    path = tmp_path / "last.pt"
    save_state({"a": torch.zeros(1000)}, path)
    for content in (path.read_bytes()[:1500], b""):
        path.write_bytes(content)
        with pytest.raises(RunError, match="cut short"):
            load_state(path)
    with pytest.raises(RunError, match="Nothing to resume"):
        load_state(tmp_path / "gone.pt")


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_state(BARE, path)

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as handle:
            handle.write(bytes(content)[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(XrayclsError, match="disk is full"):
        save_state(BARE | {"epoch": 2}, path)
    monkeypatch.undo()
    assert load_state(path)["epoch"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_name_that_is_not_unicode_can_be_written(tmp_path):
    path = tmp_path / f"caf\udce9{'é' * 100}.txt"  # é of Latin-1, as Python gives it
    try:
        path.touch()
    except OSError:
        pytest.skip("this file system has Unicode names alone")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_an_error_in_the_block_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise ValueError("in the block")

    with pytest.raises(ValueError, match="in the block"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("links", [True, False])
def test_a_shared_file_keeps_its_content_when_the_other_name_is_written_again(tmp_path, monkeypatch, links):
    first, second = tmp_path / "last", tmp_path / "best"
    if not links:  # as on a mounted Drive
        monkeypatch.setattr(
            Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links here"))
        )
    for content in ("one", "two"):
        with atomic_write(first) as temporary:
            temporary.write_text(content)
        if content == "one":
            share_file(first, second)
    assert (first.read_text(), second.read_text()) == ("two", "one")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "--batch-size 32. Try --batch-size 16"),
        (RuntimeError("MPS backend out of memory"), "Out of memory at --batch-size 32"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
            "Out of memory at --batch-size 32",
        ),
        (MemoryError(), "Out of memory"),
    ],
)
def test_out_of_memory_says_which_batch_size_to_try(error, words):
    with pytest.raises(TrainingError, match=words), explained_out_of_memory("Try --batch-size 16", 32):
        raise error
    with pytest.raises(RuntimeError, match="something else"), explained_out_of_memory("", 32):
        raise RuntimeError("something else")


def test_settings_round_trip_through_yaml(tmp_path):
    config = TrainConfig(data=Path("some/folder"), ema=0.99, clip_norm=1.0, base_model="VGG16")
    config.write(tmp_path / "config.yaml")
    assert parse_config(read_config(tmp_path / "config.yaml")) == config


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epochs": 0}, "--epochs should be greater than or equal to 1"),
        ({"learning_rate": "fast"}, "--learning-rate should be a valid number"),
        ({"precision": "int4"}, "--precision"),
        ({"epoch": 3}, "Did you mean epochs"),
    ],
)
def test_bad_settings_name_the_flag(values, words):
    with pytest.raises(UsageError, match=words):
        parse_config(values)


def test_bad_config_files_are_one_sentence(tmp_path):
    path = tmp_path / "config.yaml"
    for content, words in (("a: [", "not a YAML file"), ("- 1", "holds no settings"), ("epochs: 0", "epochs in")):
        path.write_text(content)
        with pytest.raises(UsageError, match=words):
            read_config(path)
    with pytest.raises(UsageError, match="There is no file"):
        read_config(tmp_path / "gone.yaml")


def test_metrics_round_trip_with_nan_as_an_empty_cell(tmp_path):
    run = RunFolder(tmp_path)
    run.write_metrics([{"epoch": 1.0, "val_auroc": math.nan}, {"epoch": 2.0, "val_auroc": 0.75}])
    assert run.metrics.read_text() == "epoch,val_auroc\n1,\n2,0.75\n"
    rows = run.read_metrics()
    assert math.isnan(rows[0]["val_auroc"])
    assert rows[1] == {"epoch": 2.0, "val_auroc": 0.75}
