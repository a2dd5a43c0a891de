"""Pruned classifiers from the command line: pruned, tested, trained again, resumed."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from xraycls.cli import main
from xraycls.errors import WeightsError
from xraycls.models.classifier import build_classifier, load_classifier, narrow_like, save_classifier
from xraycls.models.weight_files import read_weights

NET = "timm:test_resnet"
FAST = "--weights none --size 32 --batch-size 6 --warmup-epochs 0 --device cpu --threads 1".split()


def run(*arguments: object) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory) -> Path:
    """A run of a small network, whose filters differ in strength."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert run("train", "--data", tiny, "--base-model", NET, "--epochs", 1, "-o", folder, *FAST) == 0
    path = folder / "checkpoints" / "best.safetensors"
    classifier, _ = load_classifier(path)
    torch.manual_seed(0)
    for module in classifier.net.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.data *= torch.rand(len(module.weight), 1, 1, 1)
    extra = {name: text for name, text in read_weights(path).metadata.items() if name != "xraycls"}
    save_classifier(classifier, path, extra=extra)
    return folder


@pytest.fixture(scope="module")
def pruned(trained, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pruned") / "slim.safetensors"
    flags = "-n max -eq intersection -pg 4 -pth 0.5 -nf 4".split()
    assert run("prune", "-m", trained, "-o", path, *flags) == 0
    return path


def test_the_ratio_is_printed_as_tao_prints_it(trained, tmp_path, capfd):
    assert run("prune", "-m", trained, "-o", tmp_path / "slim", "-pth", 0.5, "-nf", 4, "-v") == 0
    out = capfd.readouterr().out
    line = next(line for line in out.splitlines() if "ratio" in line)
    assert 0 < float(line.removeprefix("Pruning ratio (pruned model / original model): ")) < 1
    assert "layer1.0.conv1" in out
    assert f"--base-model {NET} --weights {tmp_path / 'slim.safetensors'}" in out
    assert (tmp_path / "slim.safetensors").is_file()


def test_programs_read_json_and_long_flags_work_with_underscores(trained, tmp_path, capfd):
    flags = {
        "--pruning_threshold": 0.5, "--equalization_criterion": "union", "--min_num_filters": 4,
        "--pruning_granularity": 4, "--normalizer": "max", "--output_file": tmp_path / "slim.tlt",
    }  # fmt: skip
    assert run("prune", "--model", trained, *(a for pair in flags.items() for a in pair), "--json") == 0
    facts = json.loads(capfd.readouterr().out)
    path = tmp_path / "slim.tlt.safetensors"
    assert facts["model"] == str(path)
    assert 0 < facts["pruning_ratio"] < 1
    assert facts["size"] == path.stat().st_size / 2**20
    net = load_classifier(path)[0].net
    counted = sum(t.numel() for name, t in net.state_dict().items() if "num_batches" not in name)
    assert facts["param_count"] == counted


def test_a_pruned_file_is_a_classifier_like_any_other(trained, pruned, tiny, tmp_path, capfd):
    before, settings = load_classifier(trained / "checkpoints" / "best.safetensors")
    after, kept = load_classifier(pruned)
    assert sum(p.numel() for p in after.parameters()) < 0.8 * sum(p.numel() for p in before.parameters())
    assert after.classes == before.classes
    assert {name: kept[name] for name in ("threshold", "augment", "engine")} == {
        name: settings[name] for name in ("threshold", "augment", "engine")
    }
    assert run("test", pruned, "--data", tiny, "--resamples", 50, "-o", tmp_path, "--json", "--device", "cpu") == 0
    assert json.loads(capfd.readouterr().out)["n"] == 8
    image = sorted((tiny / "test" / "PNEUMONIA").iterdir())[0]
    assert run("predict", pruned, image, "-o", tmp_path / "predicted", "--device", "cpu") == 0
    assert run("cam", pruned, image, "-o", tmp_path, "--device", "cpu") == 0


def test_saved_again_it_stays_pruned(pruned, tmp_path):
    classifier, _ = load_classifier(pruned)
    save_classifier(classifier, tmp_path / "again.safetensors")
    again, _ = load_classifier(tmp_path / "again.safetensors")
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(again(images), classifier(images))
    assert again.plan == classifier.plan


def test_training_goes_on_from_a_pruned_file_and_can_be_resumed(pruned, tiny, tmp_path, capfd):
    folder = tmp_path / "again"
    weights = ["--weights", pruned]
    settings = ["--base-model", NET, "--data", tiny, *FAST[2:], *weights, "-o", folder]
    assert run("train", "--epochs", 1, *settings) == 0
    assert "is a pruned one" in " ".join(capfd.readouterr().err.split())
    shapes = [p.shape for p in load_classifier(pruned)[0].parameters()]
    best = load_classifier(folder / "checkpoints" / "best.safetensors")[0]
    assert [p.shape for p in best.parameters()] == shapes
    assert run("train", "--epochs", 2, "--schedule", "constant", *settings) == 2  # the run exists
    assert run("train", "--resume", folder, "--epochs", 2) == 0
    last = load_classifier(folder / "checkpoints" / "last.safetensors")[0]
    assert [p.shape for p in last.parameters()] == shapes
    assert last.plan == load_classifier(pruned)[0].plan
    assert run("prune", "-m", folder, "-o", tmp_path / "twice", "-pth", 0.9, "-nf", 4, "-pg", 4) == 0
    twice = load_classifier(tmp_path / "twice.safetensors")[0]
    assert sum(p.numel() for p in twice.parameters()) < sum(p.numel() for p in last.parameters())


def test_other_classes_get_a_new_head_on_the_pruned_network(pruned):
    classifier, report = build_classifier(NET, ("A", "B", "C"), weights=pruned, size=32)
    assert "head is new" in " ".join(report.lines())
    assert classifier.net.get_submodule(classifier.head).out_features == 3
    assert classifier(torch.zeros(2, 1, 32, 32, dtype=torch.uint8)).shape == (2, 3)


@pytest.mark.parametrize("other", ["ResNet18", "Alexnet"])
def test_a_pruned_file_of_another_network_is_one_sentence(other, pruned):
    with pytest.raises(WeightsError, match=rf"slim.safetensors .*doesn't fit {other}.*another network"):
        build_classifier(other, ("A", "B"), weights=pruned)


def test_narrow_like_leaves_what_is_whole():
    one, _ = build_classifier(NET, ("A", "B"), weights="none", size=32)
    narrow_like(one, one.state_dict())
    assert one.plan is None


def test_a_damaged_plan_is_one_sentence(pruned, tmp_path):
    with safe_open(pruned, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    described = json.loads(metadata["xraycls"])
    path = tmp_path / "net.safetensors"
    for plan in ({"nothing": [4, None]}, {"conv1.0": [1000, None]}, {"conv1.0": "wide"}, 7):
        save_file(tensors, path, {**metadata, "xraycls": json.dumps({**described, "pruned": plan})})
        assert run("test", path, "--device", "cpu") == 1


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["-el", "layer5"], 2, "Unknown layer 'layer5' for -el. Did you mean layer"),
        (["-eq", "onion"], 2, "Did you mean union"),
        (["-pth", "much"], 2, "-pth"),
        (["layer1"], 2, "layer1 belongs to no flag"),
        (["-m", "no/run"], 1, "no/run"),
    ],
)
def test_a_mistake_is_one_sentence(flags, code, said, trained, tmp_path, capfd):
    assert run("prune", "-m", trained, "-o", tmp_path / "slim", *flags) == code
    err = " ".join(capfd.readouterr().err.split())
    assert said in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_never_overwritten(trained, pruned, capfd):
    before = pruned.read_bytes()
    assert run("prune", "-m", trained, "-o", pruned.with_suffix("")) == 2
    assert "exists already" in " ".join(capfd.readouterr().err.split())
    assert pruned.read_bytes() == before


def test_several_layers_may_follow_one_flag(trained, tmp_path, capfd):
    flags = ["-pth", 0.9, "-nf", 4, "-pg", 4, "-v"]
    assert run("prune", "-m", trained, "-o", tmp_path / "a", "-el", "layer1", "layer2", *flags) == 0
    one = capfd.readouterr().out
    assert run("prune", "-m", trained, "-o", tmp_path / "b", "-el", "layer1", "-el", "layer2", *flags) == 0
    assert capfd.readouterr().out.replace("b.safetensors", "a.safetensors") == one
    net = load_classifier(tmp_path / "a.safetensors")[0].net
    whole = load_classifier(trained / "checkpoints" / "best.safetensors")[0].net
    assert net.layer1[0].conv1.weight.shape == whole.layer1[0].conv1.weight.shape
    assert net.layer3[0].conv1.weight.shape[0] < whole.layer3[0].conv1.weight.shape[0]


def test_nothing_to_remove_is_told(trained, tmp_path, capfd):
    assert run("prune", "-m", trained, "-o", tmp_path / "same", "-pth", 0) == 0
    out, err = capfd.readouterr()
    assert "original model): 1.0" in out
    assert "Nothing was removed" in " ".join(err.split())
