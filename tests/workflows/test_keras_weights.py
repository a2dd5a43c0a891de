"""Owners of a model that TAO trained go on with it here: evaluate, find, prune, train, convert."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from xraycls.cli import main
from xraycls.errors import RunError, UsageError, WeightsError
from xraycls.models.detection.files import load_detector
from xraycls.models.detection.keras import detector_of_keras, start_from_keras
from xraycls.models.detection.registry import build_detector, parse_detector_config
from xraycls.workflows.detection.convert_weights import convert_weights
from xraycls.workflows.detection.inference import infer
from xraycls.workflows.detection.spec import config_of_spec
from xraycls.workflows.detection.start import check_start

pytest.importorskip("h5py")

SPEC = """
random_seed: 42
ssd_config {{
  aspect_ratios_global: "[1.0, 2.0, 0.5, 3.0, 1.0/3.0]"
  scales: "[0.05, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85]"
  two_boxes_for_ar1: true
  variances: "[0.1, 0.1, 0.2, 0.2]"
  arch: "resnet"
  nlayers: {layers}
}}
training_config {{
  batch_size_per_gpu: 2
  num_epochs: 1
  learning_rate {{ soft_start_annealing_schedule {{
    min_learning_rate: 5e-5 max_learning_rate: 2e-2 soft_start: 0.15 annealing: 0.5 }} }}
  regularizer {{ type: NO_REG weight: 3e-9 }}
}}
eval_config {{ validation_period_during_training: 1 batch_size: 2 matching_iou_threshold: 0.5 }}
nms_config {{ confidence_threshold: 0.01 clustering_iou_threshold: 0.6 top_k: 200 }}
augmentation_config {{ output_width: 128 output_height: 96 output_channel: 3 }}
dataset_config {{
  data_sources {{ label_directory_path: "{labels}" image_directory_path: "{images}" }}
  validation_data_sources {{ label_directory_path: "{labels}" image_directory_path: "{images}" }}
  target_class_mapping {{ key: "opacity" value: "opacity" }}
}}
"""


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two films with a box each."""
    folder = tmp_path_factory.mktemp("films")
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for number in range(2):
        picture = np.random.default_rng(number).integers(0, 255, (96, 128), dtype=np.uint8)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), picture)
        (folder / "labels" / f"{number}.txt").write_text("opacity 0 0 0 10 10 60 50 0 0 0 0 0 0 0\n")
    return folder


@pytest.fixture
def spec(films, tmp_path):
    """Writes the spec of an SSD of so many layers."""

    def write(layers=10):
        path = tmp_path / "spec.txt"
        path.write_text(SPEC.format(layers=layers, images=films / "images", labels=films / "labels"))
        return path

    return write


@pytest.fixture(scope="module")
def model(shared):
    return shared / "reference" / "golden_networks" / "ssd_resnet10_small.hdf5"


def test_a_converted_model_computes_what_the_original_does_and_needs_no_spec(model, spec, tmp_path):
    target = tmp_path / "ssd.safetensors"
    *_, last = convert_weights(model, target, spec())
    # Keras counts 110,280: the running statistics of batch normalisation, too.
    assert "ssd on resnet10, 128 x 96, pruned, 109,400 parameters, classes opacity" in last
    converted, _ = load_detector(target)
    original, _ = detector_of_keras(model, config_of_spec(spec()))
    picture = torch.randint(0, 255, (1, 1, 96, 128), dtype=torch.uint8)
    with torch.no_grad():
        for found, expected in zip(converted(picture), original(picture), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["ssd.hdf5", "ssd"])
def test_a_model_goes_back_to_tao_and_comes_again(model, spec, name, tmp_path, capsys):
    convert_weights(model, tmp_path / "ssd.safetensors", spec())
    assert run("convert-weights", tmp_path / "ssd.safetensors", tmp_path / name, "--to", "hdf5") == 0
    assert "109,400 parameters, 116 layers as Keras has them" in capsys.readouterr().out
    again, _ = detector_of_keras(tmp_path / "ssd.hdf5", config_of_spec(spec()))
    original, _ = detector_of_keras(model, config_of_spec(spec()))
    for found, expected in zip(again.net.state_dict().values(), original.net.state_dict().values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_tao_s_model_is_evaluated_and_finds_without_retraining(model, spec, films, tmp_path, capsys):
    assert run("ssd", "evaluate", "-m", model, "-e", spec(), "-r", tmp_path / "evaluated", "--device", "cpu") == 0
    printed = capsys.readouterr().out
    assert "opacity       AP    0." in printed
    assert "2 images" in printed
    found = infer(model, films / "images", tmp_path / "found", spec=spec(), threshold=0.01, device="cpu")
    assert found.images == 2
    assert len(list((tmp_path / "found" / "labels").iterdir())) == 2


def test_without_a_spec_the_way_out_is_named(model, films, tmp_path):
    with pytest.raises(RunError, match=r"no names of classes .* convert-weights"):
        infer(model, films / "images", tmp_path / "found", device="cpu")


def test_a_spec_of_another_network_is_refused(model, spec):
    with pytest.raises(WeightsError, match=r"lacks .* layers of the ssd"):
        detector_of_keras(model, config_of_spec(spec(18)))


def test_a_backbone_alone_starts_a_training(tmp_path):
    h5py = pytest.importorskip("h5py")
    config = parse_detector_config(
        {"network": "ssd", "backbone": "resnet10", "classes": ("a",), "height": 96, "width": 96}
    )
    theirs, ours = build_detector(config), build_detector(config)
    path = tmp_path / "resnet_10.hdf5"
    with h5py.File(path, "w") as file:  # as save_weights lays it out
        backbone = {p: name for p, name in theirs.layer_names.items() if p.startswith("backbone.")}
        file.attrs["layer_names"] = [name.encode() for name in backbone.values()]
        for place, name in backbone.items():
            module, group = theirs.net.get_submodule(place), file.create_group(name)
            if isinstance(module, torch.nn.Conv2d):
                arrays = {"kernel": module.weight.detach().permute(2, 3, 1, 0)}
            else:
                values = (module.weight, module.bias, module.running_mean + 0.5, module.running_var)
                arrays = dict(zip(("gamma", "beta", "moving_mean", "moving_variance"), values, strict=True))
            group.attrs["weight_names"] = [f"{name}/{kind}:0".encode() for kind in arrays]
            for kind, array in arrays.items():
                group[f"{name}/{kind}:0"] = array.detach().numpy()
    heads = ours.net.heads["ssd_conf_0"].weight.clone()
    lines = start_from_keras(ours, path)
    torch.testing.assert_close(ours.net.backbone.conv1.weight, theirs.net.backbone.conv1.weight)
    torch.testing.assert_close(ours.net.backbone.bn1.running_mean, torch.full((64,), 0.5))
    torch.testing.assert_close(ours.net.heads["ssd_conf_0"].weight, heads)
    assert any("stay as they were" in line for line in lines)


def test_a_spec_may_start_from_a_pruned_file_of_tao(model):
    values = {"network": "ssd", "backbone": "resnet10", "classes": ("a",), "height": 96, "width": 128}
    config = parse_detector_config(values)
    spec = SimpleNamespace(config=SimpleNamespace(pruned_model_path=str(model)))
    network = SimpleNamespace(name="ssd", aliases=("dssd",), pretrained="", pruned="pruned_model_path", resumed="")
    assert check_start(network, spec, model, "", config) is None


@pytest.mark.parametrize(
    ("name", "content", "target", "words"),
    [
        ("model.tlt", b"encrypted", "out.safetensors", "decoded once with NVIDIA"),
        ("model.hdf5", None, "out.safetensors", "There is no file"),
        ("model.hdf5", b"\x89HDF\r\n\x1a\n", "out.bin", "Name it out.safetensors"),
        ("model.hdf5", b"\x89HDF\r\n\x1a\n", "out.hdf5", "is HDF5 already"),
    ],
)
def test_wrong_files_are_one_sentence(name, content, target, words, spec, tmp_path):
    source = tmp_path / name
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        convert_weights(source, tmp_path / target, spec())
    assert not (tmp_path / target).exists()


@pytest.mark.parametrize("network", ["ssd", "dssd", "yolo_v4", "faster_rcnn"])
def test_every_layer_with_weights_has_a_name_of_tao(network):
    size = {"height": 192, "width": 192}
    described = {"network": network, "backbone": "resnet18", "classes": ("a",), **size}
    detector = build_detector(parse_detector_config(described))
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    unnamed = [n for n, m in detector.net.named_modules() if isinstance(m, kinds) and n not in detector.layer_names]
    assert not unnamed
    assert len(set(detector.layer_names.values())) == len(detector.layer_names)
