"""Files of weights from anywhere: read when they hold tensors, refused when they hold more, told when damaged."""

import argparse
import os
import pickle
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file

from xraycls.errors import WeightsError
from xraycls.models.weight_files import read_weights


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def state():
    return {"conv.weight": torch.randn(40, 3, 3, 3), "conv.bias": torch.randn(40)}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: OrderedDict((f"module.{name}", tensor) for name, tensor in state.items()),
        lambda state: {"epoch": 3, "state_dict": {f"module._orig_mod.{n}": t for n, t in state.items()}},
        lambda state: {"model": state, "optimizer": {"state": {}}, "args": argparse.Namespace(lr=0.1)},
        lambda state: {"state_dict": {"a": torch.zeros(1)}, "state_dict_ema": state},
        lambda state: {"state_dict": {f"model.{name}": tensor for name, tensor in state.items()}},
    ],
    ids=["plain", "data-parallel", "compiled", "torchvision", "timm-ema", "lightning"],
)
def test_state_dicts_are_found_in_what_training_scripts_save(tmp_path, state, wrap, zipped):
    path = tmp_path / "net.pth"
    torch.save(wrap(state), path, _use_new_zipfile_serialization=zipped)
    tensors = read_weights(path).tensors
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)


def test_a_prefix_that_only_some_names_have_is_no_wrapper(tmp_path):
    state = {"model.weight": torch.zeros(1), "head.weight": torch.zeros(1)}
    torch.save(state, tmp_path / "net.pt")
    assert read_weights(tmp_path / "net.pt").tensors.keys() == state.keys()


def test_safetensors_come_with_their_metadata(tmp_path, state):
    save_file(state, tmp_path / "net.safetensors", {"format": "pt"})
    file = read_weights(tmp_path / "net.safetensors")
    assert file.tensors.keys() == state.keys()
    assert file.metadata == {"format": "pt"}
    assert file.classes is None


def test_a_run_folder_means_its_best_checkpoint(tmp_path, state):
    best = tmp_path / "checkpoints" / "best.safetensors"
    best.parent.mkdir()
    save_file(state, best)
    assert read_weights(tmp_path).path == best
    best.unlink()
    with pytest.raises(WeightsError, match=r"holds no checkpoints/best\.safetensors"):
        read_weights(tmp_path)


@pytest.mark.parametrize("way", ["zip", "legacy", "pickle"])
def test_a_pickle_bomb_is_refused_and_does_not_go_off(tmp_path, way):
    path, crater = tmp_path / "bomb.pth", tmp_path / "crater"
    content = {"state_dict": {"conv.weight": torch.zeros(1)}, "bomb": Bomb(crater)}
    if way == "pickle":
        path.write_bytes(pickle.dumps({"bomb": Bomb(crater)}, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=way == "zip")
    with pytest.raises(WeightsError, match="refused, because reading them can run any code"):
        read_weights(path)
    assert not crater.exists()
    if way == "pickle":  # the bomb is live: the test would notice
        pickle.loads(path.read_bytes())
        assert crater.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_file_cut_short_is_told_in_one_sentence(tmp_path, state, zipped, share):
    path = tmp_path / "net.pth"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(WeightsError, match=r"net\.pth") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


def test_safetensors_cut_short_are_told(tmp_path, state):
    path = tmp_path / "net.safetensors"
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(WeightsError, match="damaged"):
        read_weights(path)


def test_a_web_page_saved_as_weights_is_told(tmp_path):
    (tmp_path / "net.pth").write_text("<!DOCTYPE html><html>Sign in</html>")
    with pytest.raises(WeightsError, match="isn't a file of weights: it begins with b'<!DOCTYPE"):
        read_weights(tmp_path / "net.pth")


def test_weights_that_only_others_read_are_told(tmp_path):
    path = tmp_path / "resnet18.tlt"
    for content, said in {
        b"\x89HDF\r\n\x1a\n": "is an HDF5 file of Keras",
        b"anything": "is encrypted by NVIDIA's TLT or TAO, or damaged",
        b"xraycls\x01": "is a detector of xraycls under a key",
    }.items():
        path.write_bytes(content + bytes(99))
        with pytest.raises(WeightsError, match=rf"resnet18\.tlt {said}.*torchvision's or timm's"):
            read_weights(path)


def test_a_file_without_tensors_is_told(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="holds no tensors by name"):
        read_weights(tmp_path / "net.pth")


def test_no_such_file(tmp_path):
    with pytest.raises(WeightsError, match=r"There are no weights at .*missing\.pth"):
        read_weights(tmp_path / "missing.pth")
