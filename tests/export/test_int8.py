"""Exports in 8 bits: ranges, Q/DQ that TensorRT takes, its calibration cache, and files for CPUs."""

import json
import struct
import subprocess
import sys

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import pytest
import torch
from onnxruntime.quantization.calibrate import HistogramCollector

import xraycls
from tests.export import networks
from xraycls.errors import UsageError, XrayclsError
from xraycls.export.quantized import quantized_copy
from xraycls.export.ranges import METHODS, Histogram, percentile_limit
from xraycls.models.detection.files import save_detector
from xraycls.models.quantization import plan_of, remove_quantization
from xraycls.workflows import validation
from xraycls.workflows.export import export_model


def histogram(values: np.ndarray) -> Histogram:
    made = Histogram()
    for part in np.array_split(values, 5):
        made.add(torch.from_numpy(part))
    return made


@pytest.mark.parametrize("scale", [0.01, 30.0])
def test_the_entropy_limit_is_near_onnxruntimes(scale):
    values = np.random.default_rng(0).laplace(0, scale, 40_000).astype(np.float32)
    theirs = HistogramCollector(
        "entropy", symmetric=True, num_bins=1024, num_quantized_bins=128, percentile=99.99, scenario="same"
    )
    theirs.collect({"values": [values]})
    _, high, *_ = theirs.compute_collection_result()["values"]
    assert METHODS["entropy"](histogram(values)) == pytest.approx(float(high), rel=0.05)


MODELOPT = """
import json, sys
import numpy as np, torch
from modelopt.torch.quantization.calib import HistogramCalibrator
found = {}
for name, values in np.load(sys.argv[1]).items():
    calibrator = HistogramCalibrator(num_bins=2048)
    for part in np.array_split(values, 5):
        calibrator.collect(torch.from_numpy(part))
    found[name] = {
        "entropy": float(calibrator.compute_amax("entropy", stride=8)),
        "percentile": float(calibrator.compute_amax("percentile", percentile=99.99)),
        "max": float(np.abs(values).max()),
    }
print(json.dumps(found))
"""


@pytest.mark.exhaustive
def test_limits_are_near_those_of_nvidias_model_optimizer(tmp_path):
    """Which is installed into an environment of its own."""
    rng = np.random.default_rng(0)
    drawn = {
        "normal": rng.normal(0, 2, 40_000),
        "laplace": rng.laplace(0, 0.3, 40_000),
        "relu": np.maximum(rng.normal(-0.5, 3, 40_000), 0),
        "outliers": np.concatenate([rng.normal(0, 1, 39_990), rng.normal(0, 30, 10)]),
    }
    drawn = {name: rng.permutation(values).astype(np.float32) for name, values in drawn.items()}
    np.savez(tmp_path / "values.npz", **drawn)
    uv, python = [sys.executable, "-m", "uv"], tmp_path / "env" / "bin" / "python"
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "env"], check=True)
    wanted = ["nvidia-modelopt==0.47.0", f"torch=={torch.__version__.partition('+')[0]}", "torchvision"]
    done = subprocess.run(
        [*uv, "pip", "install", "--quiet", "--python", python, *wanted, "requests", "huggingface-hub"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"nvidia-modelopt can't be installed here: {done.stderr.strip().splitlines()[-1]}")
    told = subprocess.run([python, "-c", MODELOPT, tmp_path / "values.npz"], capture_output=True, text=True, check=True)
    for name, theirs in json.loads(told.stdout.splitlines()[-1]).items():
        counted = histogram(drawn[name])
        for method, limit in theirs.items():
            assert METHODS[method](counted) == pytest.approx(limit, rel=0.05), (name, method)


def test_the_percentile_limit_is_numpys():
    values = np.random.default_rng(0).normal(0, 2, 50_000).astype(np.float32)
    counted = histogram(values)
    expected = np.percentile(np.abs(values), 99.9)
    assert percentile_limit(counted, 99.9) == pytest.approx(expected, rel=0.01)


def test_the_largest_limit_is_the_largest_magnitude_though_it_came_last():
    values = np.random.default_rng(0).normal(0, 2, 1000).astype(np.float32)
    values[-1] = -100.0
    counted = histogram(values)
    assert METHODS["max"](counted) == 100.0
    assert counted.counts.sum() == len(values)


def test_a_batch_of_zeros_alone_leaves_the_width_of_bins_open():
    counted = Histogram()
    counted.add(torch.zeros(4, 4))
    counted.add(torch.ones(4, 4))
    assert METHODS["percentile"](counted) == pytest.approx(1.0)


def test_per_channel_weights_fold_with_batch_normalisation_exactly():
    detector = networks.ssd()
    pictures = np.random.default_rng(0).integers(0, 256, (4, 1, 64, 96), dtype=np.uint8)
    trained = quantized_copy(detector, pictures, "max")
    assert plan_of(trained.net).layers
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in trained.net.modules())
    with torch.no_grad():
        expected = trained(torch.from_numpy(pictures))
        for ours, theirs in zip(quantized_copy(trained, None)(torch.from_numpy(pictures)), expected, strict=True):
            assert torch.equal(ours, theirs)


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """A classifier that was trained for 8 bits; the tests without its quantisers have it in floating point."""
    folder = tmp_path_factory.mktemp("run") / "qat"
    return xraycls.train(
        data=tiny, output=folder, weights="none", size=32, epochs=1, batch_size=12, qat=True, precision="fp32"
    ).run.path


@pytest.fixture(scope="module")
def calibrated(run, tiny, tmp_path_factory):
    return export_model(run, tmp_path_factory.mktemp("int8"), precision="int8", calibration=tiny, calibration_images=20)


@pytest.mark.exhaustive
def test_quantisers_are_as_tensorrt_wants_them(calibrated):
    graph = onnx.load(calibrated.path).graph
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    steps = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert all(constants[node.input[2]].dtype == np.int8 and not constants[node.input[2]].any() for node in steps)
    weights = [node for node in steps if node.input[0] in constants]
    assert {node.op_type for node in weights} == {"DequantizeLinear"}  # kept as integers
    assert all(constants[n.input[0]].dtype == np.int8 for n in weights)
    assert all(constants[n.input[1]].shape == constants[n.input[0]].shape[:1] for n in weights)
    assert len(weights) == calibrated.file.quantization["layers"] == 21  # the convolutions and the head of a ResNet-18
    quantized = {node.output[0] for node in weights}
    assert all(node.input[1] in quantized for node in graph.node if node.op_type == "Conv" and "cam" not in node.output)


@pytest.mark.exhaustive
def test_the_cache_holds_the_scales_of_tensors_of_the_file_in_fp32(calibrated):
    folder = calibrated.path.parent
    plain = onnx.load(folder / "model.onnx").graph
    assert not any("Quantize" in node.op_type for node in plain.node)
    header, *lines = (folder / "model.int8.cache").read_text().splitlines()
    assert header.startswith("TRT-")
    assert header.endswith("-EntropyCalibration2")
    scales = {name: struct.unpack(">f", bytes.fromhex(digits))[0] for name, digits in (x.split(": ") for x in lines)}
    assert set(scales) <= {name for node in plain.node for name in node.input}
    ranges = json.loads((folder / "model.int8.json").read_text())["tensor_scales"]
    assert {name: value / 127 for name, value in ranges.items()} == pytest.approx(scales)
    activations = calibrated.file.quantization["activations"]
    assert 0 < len(scales) <= activations
    assert "--calib=model.int8.cache" in calibrated.file.trtexec["10, with the cache"]


@pytest.mark.walkthrough
def test_both_files_agree_with_torch_and_tell_their_figures(calibrated):
    assert all(each.passed for each in calibrated.parity)
    assert {each.limit is None for each in calibrated.parity} == {False}
    assert calibrated.file.quantization["method"] == "entropy"
    assert calibrated.file.figures["images"] == 8
    assert set(calibrated.file.figures) == {"metric", "images", "fp32", "int8"}
    listed = json.loads((calibrated.path.parent / "export.json").read_text())["files"]
    assert [each["precision"] for each in listed] == ["fp32", "int8"]
    assert listed[1]["figures"] == calibrated.file.figures


@pytest.mark.exhaustive
def test_a_trained_model_brings_its_own_ranges(run, tmp_path):
    done = export_model(run, tmp_path, precision="int8", form="probabilities")
    assert done.file.quantization["method"] == "trained"
    assert all(each.passed for each in done.parity)
    trained = xraycls.load_model(run).classifier
    session = onnxruntime.InferenceSession(str(done.path.parent / "model.probabilities.onnx"))
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 32, 32), dtype=np.uint8)
    remove_quantization(trained.net)
    with torch.no_grad():
        expected = trained(torch.from_numpy(images)).softmax(1).numpy()
    assert np.allclose(session.run(None, {"image": images})[0], expected, atol=1e-4)


@pytest.mark.exhaustive
def test_a_file_for_cpus_is_of_8_bits(run, tmp_path):
    done = export_model(run, tmp_path, precision="u8s8", calibration_images=24, form="probabilities")
    graph = onnx.load(done.path).graph
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    zeros = [constants[node.input[2]].dtype for node in graph.node if node.op_type == "QuantizeLinear"]
    assert zeros
    assert set(zeros) == {np.dtype(np.uint8)}
    assert all(each.limit is None for each in done.parity)
    assert max(each.difference for each in done.parity) < 0.2
    assert done.file.figures["u8s8"] >= 0


@pytest.mark.exhaustive
def test_a_figure_that_falls_too_far_leaves_no_file(run, tmp_path, monkeypatch):
    figures = iter([0.9, 0.8])
    monkeypatch.setattr(validation.Validation, "score", lambda self, exported: next(figures))
    with pytest.raises(XrayclsError, match=r"AUROC on 8 validation images falls from 0\.9000 to 0\.8000 in int8"):
        export_model(run, tmp_path, precision="int8", form="probabilities", max_drop=0.05)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "export.json",
        "labels.txt",
        "model.probabilities.onnx",
    ]


@pytest.mark.walkthrough
def test_too_few_pictures_or_those_of_the_test_are_refused(run, tiny, classifier_file, tmp_path):
    with pytest.raises(
        UsageError, match=r"wants 500 pictures, and there are 24.*a smaller number with --calibration-images"
    ):
        export_model(run, tmp_path, precision="int8", calibration=tiny)
    with pytest.raises(UsageError, match=r"8 of 8 calibration pictures are of the model's test split"):
        export_model(run, tmp_path, precision="int8", calibration=tiny / "test", calibration_images=8)
    with pytest.raises(UsageError, match=r"training data of the model aren't known.*Give --calibration DATA"):
        export_model(classifier_file, tmp_path, precision="int8")
    assert not any(tmp_path.iterdir())


def test_wishes_that_8_bits_do_not_know_are_refused(classifier_file, tmp_path):
    for wishes, message in (
        ({"precision": "fp16", "max_drop": 0.1}, "--max-drop is of 8 bits"),
        ({"precision": "u8s8", "calibration_method": "entropy"}, "are those of --calibration-method max"),
        ({"precision": "int8", "calibration_method": "mean"}, "mean"),
        ({"precision": "int4"}, "int4"),
        ({"precision": "int8", "max_drop": 0.1}, "no validation images to measure --max-drop on"),
    ):
        with pytest.raises(UsageError, match=message):
            export_model(classifier_file, tmp_path, **wishes)


DETECTORS = [(name, form) for name in ("ssd", "dssd", "yolo_v4_tiny", "faster_rcnn") for form in ("nms", "tao")]
DETECTORS.append(("unet", "maps"))


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "form"), DETECTORS)
@pytest.mark.parametrize("precision", ["int8", "u8s8"])
def test_every_detector_in_8_bits(name, form, precision, tmp_path, tiny):
    save_detector(networks.NETWORKS[name](), tmp_path / "model.safetensors")
    done = export_model(
        tmp_path / "model.safetensors",
        tmp_path / "out",
        precision=precision,
        form=form,
        calibration=tiny,
        calibration_images=16,
    )
    assert all(each.passed for each in done.parity)
    assert done.file.quantization["images"] == 16
