"""Networks that were pickled whole: their tensors are read, and nothing that their files name is run."""

import functools
import os
import sys
import zipfile
from types import ModuleType

import pytest
import torch
from torch import nn

from xraycls.errors import WeightsError
from xraycls.models.weight_files import read_weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:Couldn't retrieve source code"),
    pytest.mark.filterwarnings("ignore:TypedStorage is deprecated"),
]


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


class Large:
    """A tensor of more values than its storage holds."""

    def __reduce__(self):
        storage = torch.zeros(4).storage()
        return torch._utils._rebuild_tensor_v2, (storage, 0, (4096,), (1,), False, {})


@pytest.fixture
def network():
    """A network of a class that can't be imported where it is read, with what networks keep beside their layers."""
    module = ModuleType("their_package")
    sys.modules["their_package"] = module
    module.Net = type("Net", (nn.Module,), {"__module__": "their_package"})
    net = module.Net()
    net.body = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    net.head = nn.Linear(4, 2)
    net.tied = net.head
    net.register_buffer("kept", torch.arange(3))
    net.register_buffer("forgotten", torch.ones(2), persistent=False)
    net.coarse = nn.Parameter(torch.ones(2, 3, dtype=torch.bfloat16).T)
    net.norm, net.shape, net.pathologies = functools.partial(nn.LayerNorm, eps=1e-6), torch.Size([1]), ["Edema", "Mass"]
    yield net
    sys.modules.pop("their_package", None)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrap", [lambda net: net, nn.DataParallel, lambda net: {"epoch": 3, "model": net, "best": torch.ones(1)}]
)
def test_the_tensors_of_a_whole_network_are_those_of_its_state_dict(tmp_path, network, wrap, zipped):
    torch.save(wrap(network), tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    del sys.modules["their_package"]
    file = read_weights(tmp_path / "net.pt")
    expected = network.state_dict()
    assert file.tensors.keys() == expected.keys()
    assert all(torch.equal(file.tensors[name], expected[name]) for name in expected)
    assert all(file.tensors[name].dtype == expected[name].dtype for name in expected)
    assert "their_package" not in sys.modules


def test_class_and_findings_of_the_network_are_told(tmp_path, network):
    torch.save(network, tmp_path / "net.pt")
    file = read_weights(tmp_path / "net.pt")
    assert (file.origin, file.outputs) == ("their_package.Net", ("Edema", "Mass"))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_bomb_within_a_network_is_refused_by_name_and_does_not_go_off(tmp_path, network, zipped):
    network.bomb = Bomb(tmp_path / "crater")
    torch.save(network, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=rf"refused.*it holds {os.mkdir.__module__}\.mkdir"):
        read_weights(tmp_path / "net.pt")
    assert not (tmp_path / "crater").exists()
    torch.load(tmp_path / "net.pt", weights_only=False)  # the bomb is live: the test would notice
    assert (tmp_path / "crater").exists()


@pytest.mark.parametrize("name", [eval, getattr, print, torch.load, functools.reduce])
def test_functions_that_no_network_is_made_of_are_refused_by_name(tmp_path, network, name):
    network.function = name
    torch.save(network, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=rf"it holds [\w.]+\.{name.__name__}\)"):
        read_weights(tmp_path / "net.pt")


def test_a_tensor_beyond_its_storage_is_damage(tmp_path, network):
    network._buffers["large"] = Large()
    torch.save(network, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match="damaged"):
        read_weights(tmp_path / "net.pt")


def test_a_network_within_itself_is_damage(tmp_path, network):
    network._modules["again"] = network
    torch.save(network, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match="damaged"):
        read_weights(tmp_path / "net.pt")


def test_packed_storages_are_damage(tmp_path, network):
    torch.save(network, tmp_path / "net.pt")
    with (
        zipfile.ZipFile(tmp_path / "net.pt") as whole,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    with pytest.raises(WeightsError, match="damaged"):
        read_weights(tmp_path / "packed.pt")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_an_older_file_cut_short_is_told(tmp_path, network, share):
    path = tmp_path / "net.pt"
    torch.save(network, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(WeightsError, match=r"net\.pt"):
        read_weights(path)
