"""`xraycls ssd export`: TAO's flags, outputs as TAO's files have them, and what DeepStream's parser reads in them."""

import configparser

import numpy as np
import onnxruntime
import pytest
import torch

from xraycls.cli import main
from xraycls.models.detection.files import load_detector

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
    assert (channels, properties["model-color-format"], properties["net-scale-factor"]) == (1, "2", "1.0")
    images = np.random.default_rng(5).integers(0, 256, (3, 1, height, width), dtype=np.uint8)
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


def test_an_output_that_exists_and_int8_are_refused(folder, detector_file, capsys):
    assert run("ssd", "export", "-m", detector_file, "-o", folder / "ssd.onnx") == 2
    assert "exists already" in capsys.readouterr().err
    assert run("ssd", "export", "-m", detector_file, "-o", folder / "int8", "--data_type", "int8") == 2
    assert "int8 can't be exported yet" in " ".join(capsys.readouterr().err.split())
