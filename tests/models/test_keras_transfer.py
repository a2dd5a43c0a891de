"""Models that TAO itself trained and pruned give here what they gave there."""

import zlib

import numpy as np
import pytest
import torch
from torch import nn

from xraycls.errors import WeightsError
from xraycls.models.detection.anchors import SSDAnchors
from xraycls.models.detection.ssd import SSDConfig, SSDDetector
from xraycls.models.keras_file import KerasFile, KerasLayer, read_keras_file
from xraycls.models.keras_transfer import kernel_to_torch, load_keras, normalizations_after

pytest.importorskip("h5py")
ANCHORS = SSDAnchors((0.05, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85), ((1.0, 2.0, 0.5, 3.0, 1 / 3),) * 6)


def formula(count: int, key: str) -> np.ndarray:
    """The reference files' pseudo-random numbers of [-1, 1)."""
    mask = np.uint64(0xFFFFFFFF)
    h = (np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B1) + np.uint64(zlib.crc32(key.encode()))) & mask
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h ^= h >> np.uint64(shift)
        h = h * np.uint64(factor) & mask
    h ^= h >> np.uint64(16)
    return h / 2147483648.0 - 1.0


def ssd(layers: int = 10) -> SSDDetector:
    config = SSDConfig(backbone=f"resnet{layers}", classes=("opacity",), height=96, width=128, anchors=ANCHORS)
    return SSDDetector(config).eval()


def names_of(detector: SSDDetector) -> dict[str, str]:
    layers = dict(detector.net.named_modules())
    return {name: path for path, name in detector.layer_names.items() if isinstance(layers[path], nn.Conv2d)}


@pytest.mark.parametrize(("name", "key"), [("ssd_resnet10_small_pruned", "pruned"), ("ssd_resnet10_small", "trained")])
def test_a_file_of_tao_gives_the_outputs_that_tao_computed(shared, name, key):
    folder = shared / "reference" / "golden_networks"
    expected = np.load(folder / "ssd_resnet10_small.npz")[f"{key}/ssd_predictions"]
    detector = ssd()
    names = names_of(detector)
    report = load_keras(detector.net, read_keras_file(folder / f"{name}.hdf5"), names, torch.zeros(1, 3, 96, 128))
    assert (report.lacking, report.unused, report.loaded) == ((), (), 50)
    image = torch.tensor(2 * formula(3 * 96 * 128, "input_image").reshape(1, 3, 96, 128), dtype=torch.float32)
    with torch.no_grad():
        logits, offsets = detector.net(image)
    own = torch.cat([logits[0].softmax(-1), offsets[0], detector.anchors], dim=-1)
    rows = torch.cat([own, detector.variances.expand(len(own), 4)], dim=-1).numpy().reshape(-1)
    step = -(-rows.size // expected.size)  # the file holds every so many-th number
    found = rows[::step]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_file_of_another_depth_says_what_it_has(shared):
    path = shared / "reference" / "golden_networks" / "ssd_resnet10_small.hdf5"
    file = read_keras_file(path)
    stem = KerasFile(path, "", {"other": KerasLayer("other", "", {"kernel": np.zeros((1, 1, 3, 4))})}, None, False)
    detector = ssd(18)
    net, names = detector.net, names_of(detector)
    with pytest.raises(WeightsError, match=r"No layer .* has a name of this network: it has other"):
        load_keras(net, stem, names, torch.zeros(1, 3, 96, 128))
    report = load_keras(net, file, names, torch.zeros(1, 3, 96, 128))
    assert any("layer1.1" in name for name in report.lacking)  # the second block of every stage


def test_the_normalisation_is_the_one_that_takes_the_output():
    class Crossed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
            self.after_second, self.after_first = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

        def forward(self, x):
            return self.after_first(self.first(x)) + self.after_second(self.second(x).relu())

    assert normalizations_after(Crossed(), torch.zeros(1, 3, 2, 2)) == {"first": "after_first"}


def test_a_transposed_kernel_becomes_the_convolution_to_four_corners():
    from xraycls.models.detection.dssd import Doubling

    kernel = np.random.default_rng(0).normal(size=(2, 2, 5, 3)).astype(np.float32)
    double = Doubling(3, 5)
    moved = kernel_to_torch(double.corners, KerasLayer("d", "Conv2DTranspose", {"kernel": kernel}))
    double.corners.weight = nn.Parameter(torch.from_numpy(moved.copy()))
    image = torch.randn(2, 3, 4, 6)
    weight = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
    expected = torch.nn.functional.conv_transpose2d(image, weight, stride=2)
    torch.testing.assert_close(double(image), expected)
