"""What is written for Triton and DeepStream: texts that their own schemas take."""

import configparser
import io
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import onnxruntime
import pytest

pytest.importorskip("google.protobuf", reason="needs the extra: tao")

from xraycls.errors import UsageError
from xraycls.export.deepstream import NVINFER, nvinfer_settings, write_deepstream
from xraycls.export.folder import trtexec_commands
from xraycls.export.triton import drawing_config, ensemble_config, model_config, write_repository
from xraycls.export.triton_models import compute, draw
from xraycls.inference.exported import ExportedFile

# Of nvinfer's property parser, as DeepStream 7's manual of the plugin lists them.
NVINFER_KEYS = frozenset(
    "gpu-id onnx-file model-engine-file labelfile-path network-type network-mode int8-calib-file batch-size "
    "gie-unique-id net-scale-factor offsets infer-dims model-color-format maintain-aspect-ratio symmetric-padding "
    "num-detected-classes output-blob-names parse-bbox-func-name cluster-mode output-tensor-meta process-mode "
    "classifier-threshold".split()
)


def file_of(**changes) -> ExportedFile:
    detector = ExportedFile(
        file="model.onnx",
        sha256="",
        kind="detector",
        network="ssd",
        classes=("nodule", "opacity"),
        height=64,
        width=96,
        input="uint8",
        form="nms",
        precision="fp32",
        opset=20,
        outputs={
            "num_detections": ["batch", 1],
            "detection_boxes": ["batch", 20, 4],
            "detection_scores": ["batch", 20],
            "detection_classes": ["batch", 20],
        },
        rendering="squeezed",
        fill=None,
    )
    return replace(detector, **changes)


CLASSIFIER = {
    "kind": "classifier",
    "network": "ResNet18",
    "form": "probabilities",
    "outputs": {"probabilities": ["batch", 2]},
    "rendering": "stretched",
    "height": 32,
    "width": 32,
}


@pytest.mark.parametrize(
    "changes", [{}, CLASSIFIER, {"form": "tao", "outputs": {"NMS": ["batch", 1, 20, 7], "NMS_1": ["batch", 1, 1]}}]
)
@pytest.mark.parametrize("backend", ["onnxruntime", "python", "tensorrt"])
def test_configurations_are_of_tritons_own_schema(changes, backend):
    theirs = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="needs tritonclient")
    from google.protobuf import text_format

    from xraycls.data.protobuf import print_text

    file = file_of(**changes)
    for made in (model_config(file, "x", backend, 8), drawing_config(file, "x", 8), ensemble_config(file, "x", 8)):
        read = text_format.Parse(print_text(made), theirs.ModelConfig())
        assert read.max_batch_size == 8
        assert [each.name for each in read.output] == [each.name for each in made.output]


def test_a_repository_has_the_model_and_an_ensemble_that_takes_files(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    folders = write_repository(tmp_path / "model.onnx", file_of(), tmp_path / "models", name="ssd", backend="python")
    assert [folder.name for folder in folders] == ["ssd", "ssd_draw", "ssd_file"]
    assert (tmp_path / "models/ssd/1/model.onnx").read_bytes() == b"onnx"
    config = (tmp_path / "models/ssd/config.pbtxt").read_text()
    for line in ('backend: "python"', "data_type: TYPE_UINT8", "dims: 64", "data_type: TYPE_INT32", "zero_data: true"):
        assert line in config
    ensemble = (tmp_path / "models/ssd_file/config.pbtxt").read_text()
    assert 'platform: "ensemble"' in ensemble
    assert ensemble.index('model_name: "ssd_draw"') < ensemble.index('model_name: "ssd"')
    assert (tmp_path / "models/ssd/labels.txt").read_text() == "nodule\nopacity\n"
    with pytest.raises(UsageError, match=r"ssd exists already"):
        write_repository(tmp_path / "model.onnx", file_of(), tmp_path / "models", name="ssd")
    with pytest.raises(UsageError, match=r"form trt, which only TensorRT computes"):
        write_repository(tmp_path / "model.onnx", file_of(form="trt"), tmp_path / "models", name="other")
    with pytest.raises(UsageError, match=r"can't be named 'a/b'"):
        write_repository(tmp_path / "model.onnx", file_of(), tmp_path / "models", name="a/b")


@pytest.fixture
def backend_utils(monkeypatch):
    """Triton's module for its Python backend, as far as the two programs use it."""
    utils = ModuleType("triton_python_backend_utils")
    utils.Tensor = lambda name, values: SimpleNamespace(name=name, as_numpy=lambda: values)
    utils.TritonError = str
    utils.InferenceResponse = lambda output_tensors=(), error=None: SimpleNamespace(
        tensors={each.name: each.as_numpy() for each in output_tensors}, error=error
    )
    utils.get_input_tensor_by_name = lambda request, name: request[name]
    monkeypatch.setitem(__import__("sys").modules, "triton_python_backend_utils", utils)
    return utils


def started(kind, folder):
    program = kind.TritonPythonModel()
    program.initialize({"model_repository": str(folder), "model_version": "1"})
    return program


@pytest.mark.slow
def test_the_programs_of_a_repository_answer_as_onnxruntime_does(exported_classifier, backend_utils, tmp_path):
    folders = write_repository(
        exported_classifier.path, exported_classifier.file, tmp_path, name="chest", backend="python"
    )
    grey = np.random.default_rng(0).integers(0, 256, (80, 70), dtype=np.uint8)
    png = cv2.imencode(".png", grey)[1].tobytes()
    files = backend_utils.Tensor("file", np.array([[png], [png]], object))
    (drawn,) = started(draw, folders[1]).execute([{"file": files}])
    assert drawn.tensors["image"].shape == (2, 1, 64, 64)
    (answer,) = started(compute, folders[0]).execute([{"image": backend_utils.Tensor("image", drawn.tensors["image"])}])
    session = onnxruntime.InferenceSession(str(exported_classifier.path), providers=["CPUExecutionProvider"])
    expected = session.run(["logits"], {"image": drawn.tensors["image"]})[0]
    assert np.array_equal(answer.tensors["logits"], expected)
    (refused,) = started(draw, folders[1]).execute(
        [{"file": backend_utils.Tensor("file", np.array([[b"no picture"]], object))}]
    )
    assert "request" in refused.error


def properties_of(text: str) -> configparser.SectionProxy:
    parser = configparser.ConfigParser()
    parser.read_file(io.StringIO(text))
    return parser["property"]


def test_nvinfer_is_told_of_a_classifier_by_its_labels_in_one_line(tmp_path):
    file = file_of(**CLASSIFIER, input="float")
    written = write_deepstream(tmp_path / "model.onnx", file, "labels.txt")
    properties = properties_of((tmp_path / NVINFER).read_text())
    assert (properties["network-type"], properties["infer-dims"]) == ("1", "1;32;32")
    assert (tmp_path / properties["labelfile-path"]).read_text() == "nodule;opacity\n"
    assert "parse-bbox-func-name" not in properties
    assert all(path.is_file() for path in written)
    application = configparser.ConfigParser()
    application.read(tmp_path / "deepstream_app.txt")
    assert application["primary-gie"]["config-file"] == NVINFER


@pytest.mark.parametrize(
    ("form", "background", "parser", "classes"),
    [
        ("tao", "first", "NvDsInferParseCustomNMSTLT", "3"),
        ("tao", None, "NvDsInferParseCustomBatchedNMSTLT", "2"),
        ("trt", "first", "NvDsInferParseCustomEfficientNMSTLT", "2"),
    ],
)
def test_the_parser_is_that_of_the_outputs(form, background, parser, classes):
    file = file_of(form=form, background=background, input="float")
    properties = properties_of(nvinfer_settings(file, labels="labels.txt"))
    assert properties["parse-bbox-func-name"] == parser
    assert properties["num-detected-classes"] == classes
    assert set(properties) <= NVINFER_KEYS


@pytest.mark.parametrize(
    ("kind", "dims", "colours", "offsets"), [("float", "1;64;96", "2", "0"), ("bgr", "3;64;96", "1", "0;0;0")]
)
def test_nvinfer_feeds_grey_levels_or_colours_as_the_file_takes_them(kind, dims, colours, offsets):
    outputs = {"NMS": ["batch", 1, 20, 7], "NMS_1": ["batch", 1, 1]}
    file = file_of(form="tao", background="first", input=kind, outputs=outputs)
    properties = properties_of(nvinfer_settings(file, labels="labels.txt"))
    found = [properties[key] for key in ("infer-dims", "model-color-format", "offsets", "net-scale-factor")]
    assert found == [dims, colours, offsets, "1.0"]
    (image,) = model_config(file, "x", "onnxruntime", 8).input
    assert list(image.dims) == [int(dims[0]), 64, 96]


def test_a_file_of_colours_gets_grey_films_three_times():
    films = np.arange(12, dtype=np.uint8).reshape(2, 1, 2, 3)
    found = file_of(input="bgr").input_of(films)
    assert (found.shape, found.dtype) == ((2, 3, 2, 3), np.float32)
    assert all(np.array_equal(found[:, channel], films[:, 0]) for channel in range(3))


@pytest.mark.parametrize(
    ("precision", "version", "ends"),
    [
        ("fp32", "11", "--saveEngine=model.engine"),
        ("fp32", "10", "--saveEngine=model.engine"),
        ("fp16", "11", "--saveEngine=model.fp16.engine"),
        ("fp16", "10", "--saveEngine=model.fp16.engine --stronglyTyped"),
        ("int8", "11", "--saveEngine=model.int8.engine"),
        ("int8", "10", "--saveEngine=model.int8.engine --stronglyTyped"),
        ("int8", "10, with the cache", "--saveEngine=model.int8.engine --int8 --calib=model.int8.cache"),
    ],
)
def test_each_version_of_tensorrt_has_its_command(precision, version, ends):
    name = "model.onnx" if precision == "fp32" else f"model.{precision}.onnx"
    command = trtexec_commands(file_of(file=name, precision=precision))[version]
    read = "model.onnx" if "calib" in ends else name
    shapes = "--minShapes=image:1x1x64x96 --optShapes=image:8x1x64x96 --maxShapes=image:32x1x64x96"
    assert command == f"trtexec --onnx={read} {shapes} {ends}"


def test_a_form_that_deepstream_does_not_read_is_refused():
    with pytest.raises(UsageError, match=r"isn't for DeepStream.*--form tao --input float"):
        nvinfer_settings(file_of(), labels="labels.txt")
    with pytest.raises(UsageError, match=r"--form probabilities --input float"):
        nvinfer_settings(file_of(**CLASSIFIER), labels="labels.txt")
