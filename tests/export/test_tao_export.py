"""`xraycls ssd export`: TAO's flags, outputs as TAO's files have them, and what DeepStream's parser reads in them."""

import configparser
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.export import networks
from xraycls.cli import main
from xraycls.models.detection.files import load_detector, save_detector

pytestmark = pytest.mark.slow


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def folder(detector_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tao")
    line = ("-m", detector_file, "-o", folder / "ssd.etlt", "--data_type", "fp16", "--gen_ds_config", "--batches", "10")
    assert run("ssd", "export", *line) == 0
    return folder


def parsed(rows, count, width, height, classes, threshold):
    """What DeepStream's NvDsInferParseCustomNMSTLT makes of the two outputs of one picture."""
    boxes = []
    for _, label, score, left, top, right, bottom in rows.reshape(-1, 7)[: int(count.reshape(-1)[0])]:
        assert int(label) < classes  # which aborts the program
        if score >= threshold:
            boxes.append((int(label), float(score), left * width, top * height, right * width, bottom * height))
    return np.array(boxes)


@pytest.mark.walkthrough
def test_deepstreams_parser_reads_the_detectors_boxes(folder, detector_file):
    settings = configparser.ConfigParser()
    settings.read(folder / "nvinfer_config.txt")
    properties = settings["property"]
    assert properties["parse-bbox-func-name"] == "NvDsInferParseCustomNMSTLT"
    assert properties["network-mode"] == "2"
    classes = int(properties["num-detected-classes"])
    assert len((folder / properties["labelfile-path"]).read_text().splitlines()) == classes == 3
    channels, height, width = map(int, properties["infer-dims"].split(";"))
    assert (channels, properties["model-color-format"], properties["net-scale-factor"]) == (3, "1", "1.0")
    assert properties["offsets"] == "0;0;0"
    images = np.random.default_rng(5).integers(0, 256, (3, 3, height, width), dtype=np.uint8)  # of colours
    session = onnxruntime.InferenceSession(str(folder / properties["onnx-file"]), providers=["CPUExecutionProvider"])
    names = properties["output-blob-names"].split(";")
    rows, counts = session.run(names, {"image": images.astype(np.float32)})
    detector, _ = load_detector(detector_file)
    with torch.no_grad():
        expected = detector.detect(detector(torch.from_numpy(images)))
    for picture, each in enumerate(expected):
        found = parsed(rows[picture], counts[picture], width, height, classes, 0.0)
        assert found[:, 0].tolist() == (each.labels + 1).tolist()
        assert np.allclose(found[:, 1], each.scores, atol=1e-5)
        assert np.allclose(found[:, 2:], each.boxes, atol=1e-2)


def parsed_four(count, boxes, scores, classes, width, height, known):
    """What NvDsInferParseCustomBatchedNMSTLT makes of the four outputs of one picture."""
    found = []
    for box, score, label in zip(boxes[: int(count[0])], scores, classes, strict=False):
        if int(label) < known:  # others are left out
            left, top, right, bottom = box
            found.append((int(label), float(score), left * width, top * height, right * width, bottom * height))
    return np.array(found[:200])


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["yolo_v4_tiny", "faster_rcnn"])
def test_deepstreams_parsers_read_the_boxes_of_the_others(name, tmp_path):
    detector = networks.NETWORKS[name]()
    save_detector(detector, tmp_path / "model.safetensors")
    verb = name.removesuffix("_tiny")
    assert run(verb, "export", "-m", tmp_path / "model.safetensors", "-o", tmp_path / "x.onnx", "--gen_ds_config") == 0
    settings = configparser.ConfigParser()
    settings.read(tmp_path / "nvinfer_config.txt")
    properties = settings["property"]
    classes, shape = int(properties["num-detected-classes"]), [*map(int, properties["infer-dims"].split(";"))]
    _, height, width = shape
    images = np.random.default_rng(5).integers(0, 256, (2, *shape), dtype=np.uint8)
    session = onnxruntime.InferenceSession(str(tmp_path / "x.onnx"), providers=["CPUExecutionProvider"])
    outputs = session.run(properties["output-blob-names"].split(";"), {"image": images.astype(np.float32)})
    with torch.no_grad():
        expected = detector.detect(detector(torch.from_numpy(images)))
    for picture, each in enumerate(expected):
        of_picture = [output[picture] for output in outputs]
        if properties["parse-bbox-func-name"] == "NvDsInferParseCustomBatchedNMSTLT":
            found = parsed_four(*of_picture, width, height, classes)
        else:
            found = parsed(*of_picture, width, height, classes, 0.0)
        assert len(each) > 1
        assert found[:, 0].tolist() == each.labels.tolist()
        assert np.allclose(found[:, 1], each.scores, atol=1e-4)
        assert np.allclose(found[:, 2:], each.boxes, atol=5e-2)


def test_a_calibration_cache_that_exists_is_refused(detector_file, tmp_path, capsys):
    (tmp_path / "cal.bin").write_text("TRT-")
    line = ("-m", detector_file, "-o", tmp_path / "ssd.onnx", "--data_type", "int8", "--cal_cache_file")
    assert run("ssd", "export", *line, tmp_path / "cal.bin") == 2
    assert "cal.bin exists already" in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["cal.bin"]


def test_an_output_that_exists_is_refused(folder, detector_file, capsys):
    assert run("ssd", "export", "-m", detector_file, "-o", folder / "ssd.onnx") == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.exhaustive
def test_int8_writes_the_cache_that_nvinfer_names_for_the_file_in_fp32(detector_file, tiny, tmp_path, capsys):
    line = ("-m", detector_file, "-o", tmp_path / "ssd.onnx", "--data_type", "int8", "--cal_cache_file")
    line = (
        *line,
        tmp_path / "cal.bin",
        "--batch_size",
        "4",
        "--gen_ds_config",
        "--cal_json_file",
        tmp_path / "cal.json",
    )
    assert run("ssd", "export", *line) == 2
    assert "Give --cal_image_dir" in capsys.readouterr().err
    line = (*line, "--cal_image_dir", tiny)
    assert run("ssd", "export", *line, "--batches", "11") == 2
    assert "wants 44 pictures, and there are 40" in " ".join(capsys.readouterr().err.split())
    assert run("ssd", "export", *line, "--batches", "10") == 0
    names = [each.split(": ")[0] for each in (tmp_path / "cal.bin").read_text().splitlines()[1:]]
    taken = {name for node in onnx.load(tmp_path / "ssd.onnx").graph.node for name in node.input}
    assert set(names) <= taken
    assert set(json.loads((tmp_path / "cal.json").read_text())["tensor_scales"]) == set(names)
    settings = configparser.ConfigParser()
    settings.read(tmp_path / "nvinfer_config.txt")
    assert settings["property"]["network-mode"] == "1"
    assert settings["property"]["int8-calib-file"] == str(tmp_path / "cal.bin")
    assert settings["property"]["onnx-file"] == "ssd.onnx"
    assert (tmp_path / "ssd.int8.onnx").is_file()
    assert run("ssd", "export", *line, "-o", tmp_path / "other.onnx") == 2
    assert "cal.bin exists already" in " ".join(capsys.readouterr().err.split())
