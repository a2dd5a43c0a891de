"""Layers that pruning is told to keep, by TAO's names and by ours."""

import pytest
import torch

from tests.models.detectors import small_detector
from xraycls.compress.prune import count_parameters
from xraycls.errors import UsageError
from xraycls.models.detection.faster_rcnn import FasterRCNN, FasterRCNNConfig
from xraycls.models.detection.files import load_detector, save_detector
from xraycls.models.detection.registry import build_detector
from xraycls.models.detection.unet import UNetConfig
from xraycls.workflows.detection.prune import _paths, prune_detector


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_detector(small_detector("googlenet"), path)
    return path


def test_layers_are_kept_by_either_name(model, tmp_path):
    pytest.importorskip("torch_pruning")
    excluded = ("conv2", "inception_3a_3x3", "ssd_expand_block_1", "backbone.inception3b.branch1.conv")
    _, report = prune_detector(model, tmp_path / "slim", threshold=0.99, excluded=excluded)
    kept = {layer.name for layer in report.layers if layer.note.startswith("excluded")}
    assert kept == {
        "backbone.conv3.conv",  # what we call conv2 is TAO's conv2_reduce
        "backbone.inception3a.branch2.1.conv",
        "backbone.inception3b.branch1.conv",
        "extras.ssd_expand_block_1.0",
        "extras.ssd_expand_block_1.2",
    }


@torch.no_grad()
@pytest.mark.parametrize("backbone", ["resnet10", "mobilenet_v2"])
def test_a_pruned_unet_is_stored_with_its_narrow_layers(backbone, tmp_path):
    pytest.importorskip("torch_pruning")
    torch.manual_seed(0)
    whole = build_detector(UNetConfig(backbone=backbone, classes=("a",), height=64, width=64)).eval()
    for module in whole.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight *= 2 * torch.rand(len(module.weight), 1, 1, 1)
    save_detector(whole, tmp_path / "whole.safetensors")
    slim, report = prune_detector(tmp_path / "whole.safetensors", tmp_path / "slim", threshold=0.5)
    pruned, _ = load_detector(slim)
    assert report.ratio < 0.8
    assert count_parameters(pruned.net) == report.after
    raw = pruned(torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8))
    assert [each.shape for each in raw] == [(2, 1, 16, 16), (2, 1), (2, 1, 16, 16), (2, 4, 16, 16)]
    assert len(pruned.detect(raw)) == 2


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("inception_3a_3x3_norm", r"Did you mean .*inception_3a_3x3, .*\?$"),
        ("inception3a.branch1.con", r"Did you mean .*backbone\.inception3a\.branch1\.conv.*\?$"),
        ("0000", r"Choose one of: backbone, extras, .*heads\.$"),
    ],
)
def test_unknown_names_are_one_sentence(model, tmp_path, name, hint):
    with pytest.raises(UsageError, match=rf"^Unknown layer '{name}' for -el\. {hint}"):
        prune_detector(model, tmp_path / "slim", excluded=(name,))


def test_faster_rcnn_has_the_names_of_tao_with_and_without_td():
    with torch.device("meta"):
        detector = FasterRCNN(FasterRCNNConfig(backbone="vgg16", classes=("a",), height=160, width=160))
    for name in ("dense_class", "fc1"):
        assert _paths(detector, [f"{name}_td"]) == _paths(detector, [name])


def test_a_pruning_replaces_what_one_wrote_before_and_nothing_else(tmp_path):
    pytest.importorskip("torch_pruning")
    model, trained, slim = (tmp_path / f"{name}.safetensors" for name in ("model", "trained", "slim"))
    save_detector(small_detector("resnet10"), model)
    trained.write_bytes(model.read_bytes())
    for threshold in (0.5, 0.9):
        prune_detector(model, slim, threshold=threshold)
    for path, said in ((trained, "trained.safetensors exists, and no pruning wrote it"), (model, "would be lost")):
        with pytest.raises(UsageError, match=said):
            prune_detector(model, path)
        assert path.read_bytes() == model.read_bytes()
    retrained, _ = load_detector(slim)
    save_detector(retrained, slim)
    with pytest.raises(UsageError, match="no pruning wrote it"):
        prune_detector(model, slim)
