"""Keras' HDF5 files read as data: what TAO wrote is there, what could do harm is refused by name."""

import json

import numpy as np
import pytest

from xraycls.errors import WeightsError
from xraycls.models.keras_file import is_keras_file, read_keras_file

h5py = pytest.importorskip("h5py")

CONV = {"class_name": "Conv2D", "config": {"name": "conv"}, "inbound_nodes": [[["image", 0, 0, {}]]]}
NORM = {"class_name": "BatchNormalization", "config": {"name": "norm"}, "inbound_nodes": [[["conv", 0, 0, {}]]]}
IMAGE = {"class_name": "InputLayer", "config": {"name": "image", "batch_input_shape": [None, 3, 32, 48]}}
KERNEL = np.arange(3 * 3 * 3 * 4, dtype=np.float32).reshape(3, 3, 3, 4)


@pytest.fixture
def file(tmp_path):
    """Writes a small model as Keras lays it out; ``change`` may spoil the open file."""

    def write(change=None, layers=(IMAGE, CONV, NORM), graph=True):
        path = tmp_path / "model.hdf5"
        with h5py.File(path, "w") as f:
            if graph:
                f.attrs["model_config"] = json.dumps({"class_name": "Model", "config": {"name": "m", "layers": layers}})
            weights = f.create_group("model_weights") if graph else f
            weights.attrs["layer_names"] = [b"image", b"conv", b"norm"]
            weights.create_group("image").attrs["weight_names"] = np.array([], "S1")
            conv = weights.create_group("conv")
            conv.attrs["weight_names"] = [b"conv_2/kernel:0"]  # the suffix of a model that was loaded again
            conv["conv_2/kernel:0"] = KERNEL
            norm = weights.create_group("norm")
            kinds = ("gamma", "beta", "moving_mean", "moving_variance")
            norm.attrs["weight_names"] = [f"norm/{kind}:0".encode() for kind in kinds]
            for number, kind in enumerate(kinds):
                norm[f"norm/{kind}:0"] = np.full(4, number, np.float32)
            if change:
                change(f, conv)
        return path

    return write


def test_weights_are_found_by_layer_and_kind(file):
    read = read_keras_file(file())
    assert list(read.layers) == ["image", "conv", "norm"]
    np.testing.assert_array_equal(read.layers["conv"].weights["kernel"], KERNEL)
    assert read.input_shape == (3, 32, 48)
    assert read.normalizations() == {"conv": "norm"}


def test_a_file_of_weights_alone_pairs_layers_by_order_and_width(file):
    read = read_keras_file(file(graph=False))
    assert not read.has_graph
    assert read.normalizations() == {"conv": "norm"}


def test_the_layer_inside_of_time_distributed_gives_its_name(file):
    wrapped = {
        "class_name": "TimeDistributed",
        "config": {"name": "conv", "layer": CONV | {"config": {"name": "inner"}}},
    }
    read = read_keras_file(file(layers=(IMAGE, wrapped | {"inbound_nodes": CONV["inbound_nodes"]}, NORM)))
    assert read.normalizations() == {"inner": "norm"}


def external_link(f, conv):
    del conv["conv_2/kernel:0"]
    conv["conv_2/kernel:0"] = h5py.ExternalLink("/etc/hostname", "/")


def soft_link(f, conv):
    del conv["conv_2/kernel:0"]
    conv["conv_2/kernel:0"] = h5py.SoftLink("/model_weights/norm/norm/gamma:0")


def external_data(f, conv):
    del conv["conv_2/kernel:0"]
    conv.create_dataset("conv_2/kernel:0", (3, 3, 3, 4), "f4", external=[("other.bin", 0, 432)])


def virtual(f, conv):
    del conv["conv_2/kernel:0"]
    layout = h5py.VirtualLayout((3, 3, 3, 4), "f4")
    layout[:] = h5py.VirtualSource("other.hdf5", "x", (3, 3, 3, 4))
    conv.create_virtual_dataset("conv_2/kernel:0", layout)


def bomb(f, conv):
    del conv["conv_2/kernel:0"]
    conv.create_dataset("conv_2/kernel:0", (1 << 14, 1 << 14, 3, 4), "f4", chunks=(1, 1, 3, 4))


def inflated(f, conv):
    del conv["conv_2/kernel:0"]
    conv.create_dataset("conv_2/kernel:0", (1 << 15, 1 << 14, 3, 4), "f4", chunks=(64, 64, 3, 4), compression="gzip")


def text(f, conv):
    del conv["conv_2/kernel:0"]
    conv["conv_2/kernel:0"] = "cos\nsystem\n"


def missing(f, conv):
    del conv["conv_2/kernel:0"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (external_link, "link to elsewhere"),
        (soft_link, "link to elsewhere"),
        (external_data, "other files"),
        (virtual, "other files"),
        (bomb, "more numbers than the file holds"),
        (inflated, "more numbers than the file holds"),
        (text, "no floating-point numbers"),
        (missing, "lacks"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_leads_out_of_the_file_or_claims_too_much_is_refused(file, change, words):
    with pytest.raises(WeightsError, match=words):
        read_keras_file(file(change))


def test_a_lambda_layer_is_refused_by_name(file):
    code = {
        "class_name": "Lambda",
        "config": {"name": "evil", "function": ["4wEAAAA", None, None]},
        "inbound_nodes": [],
    }
    nested = {"class_name": "TimeDistributed", "config": {"name": "outer", "layer": code}, "inbound_nodes": []}
    with pytest.raises(WeightsError, match=r"evil .* is a Lambda"):
        read_keras_file(file(layers=(IMAGE, CONV, NORM, nested)))


@pytest.mark.parametrize("length", [0, 7, 100, 2000, -300])
def test_a_file_that_is_cut_short_is_one_sentence(file, length):
    path = file()
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(WeightsError, match="damaged or cut short"):
        read_keras_file(path)


def test_a_deeply_nested_graph_is_one_sentence(file):
    def change(f, conv):
        f.attrs["model_config"] = '{"config":' + "[" * 20_000 + "]" * 20_000 + "}"

    with pytest.raises(WeightsError):
        read_keras_file(file(change))


@pytest.mark.parametrize("name", ["ssd_resnet10_small", "ssd_resnet10_small_pruned"])
def test_real_files_of_tao_are_read(shared, name):
    path = shared / "reference" / "golden_networks" / f"{name}.hdf5"
    assert is_keras_file(path)
    read = read_keras_file(path)
    assert read.name == "ssd_resnet"
    assert read.input_shape == (3, 96, 128)
    assert sum(w.size for layer in read.layers.values() for w in layer.weights.values()) == 110_280
    assert read.normalizations()["block_1a_conv_shortcut"] == "block_1a_bn_shortcut"
    bare = type(read)(read.path, "", {n: type(v)(n, "", v.weights) for n, v in read.layers.items()}, None, False)
    assert bare.normalizations() == read.normalizations()
