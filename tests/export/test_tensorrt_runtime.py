"""Engines are computed by TensorRT; where it isn't, by a stand-in of its functions that computes in host memory."""

import ctypes
import shutil
import sys
from contextlib import nullcontext
from dataclasses import replace
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch

import xraycls
from xraycls.cli import main
from xraycls.errors import XrayclsError
from xraycls.export.engine import Engine
from xraycls.export.folder import Exported, note_in_listing
from xraycls.inference import tensorrt_runtime
from xraycls.inference.exported import sha256_of
from xraycls.inference.exported_detections import detections_of
from xraycls.inference.exported_predictor import load_exported, session_of
from xraycls.workflows.export import export_model, serve_settings
from xraycls.workflows.inference_bench import bench_inference

GPU = "NVIDIA H200"
MOST = 2
FORMS = {"classifier": "logits", "detector": "heads"}  # outputs that compare by value
KINDS = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32, "tensor(int32)": np.int32}


class Context:
    """An execution context: shapes and addresses by name, as TensorRT's."""

    def __init__(self, engine):
        self.session, self.addresses, self.shape = engine.session, {}, None

    def set_input_shape(self, name, shape):
        assert name == "image"
        self.shape = tuple(shape)
        return self.shape[1:] == tuple(self.session.get_inputs()[0].shape[1:]) and len(self.shape) == 4

    def get_tensor_shape(self, name):
        (output,) = (each for each in self.session.get_outputs() if each.name == name)
        return (self.shape[0], *output.shape[1:])

    def set_tensor_address(self, name, memory):
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle):
        assert stream_handle == 7
        images = np.zeros(self.shape, KINDS[self.session.get_inputs()[0].type])
        ctypes.memmove(images.ctypes.data, self.addresses["image"], images.nbytes)
        names = [each.name for each in self.session.get_outputs()]
        for name, values in zip(names, self.session.run(names, {"image": images}), strict=True):
            assert values.shape == self.get_tensor_shape(name)
            ctypes.memmove(self.addresses[name], np.ascontiguousarray(values).ctypes.data, values.nbytes)
        return True


class LoadedEngine:
    """An engine whose content is an ONNX file."""

    def __init__(self, content):
        self.session = onnxruntime.InferenceSession(content)
        tensors = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.tensors = {each.name: each for each in tensors}
        self.num_io_tensors = len(tensors)

    def get_tensor_name(self, number):
        return list(self.tensors)[number]

    def get_tensor_mode(self, name):
        return "INPUT" if name == "image" else "OUTPUT"

    def get_tensor_dtype(self, name):
        return self.tensors[name].type

    def get_tensor_profile_shape(self, name, profile):
        assert (name, profile) == ("image", 0)
        shape = tuple(self.tensors[name].shape[1:])
        return [(1, *shape), (1, *shape), (MOST, *shape)]

    def create_execution_context(self):
        return Context(self)


class Logger:
    """The base of loggers."""

    ERROR, INTERNAL_ERROR = "ERROR", "INTERNAL_ERROR"


class Runtime:
    """Reads engines; says why it doesn't to the logger."""

    def __init__(self, logger):
        self.logger = logger

    def deserialize_cuda_engine(self, content):
        if content.startswith(b"of another kind"):
            self.logger.log("ERROR", "The engine plan file is generated on an incompatible device.\nMore lines.")
            return None
        return LoadedEngine(content)


@pytest.fixture
def fake_tensorrt(monkeypatch):
    """TensorRT and a GPU, which is host memory."""
    module = SimpleNamespace(
        __version__="11.4.0",
        __spec__=ModuleSpec("tensorrt", None),
        ILogger=Logger,
        Runtime=Runtime,
        TensorIOMode=SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT"),
        nptype=KINDS.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(tensorrt_runtime, "_gpu", lambda device: torch.device("cpu"))
    monkeypatch.setattr(tensorrt_runtime, "gpu_name", lambda gpu=None: GPU)
    monkeypatch.setattr(torch.cuda, "Stream", lambda gpu: SimpleNamespace(cuda_stream=7))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    return module


def with_engine(exported: Exported, folder) -> Exported:
    """A copy of an exported folder with an engine in it, whose content is the ONNX file."""
    shutil.copytree(exported.path.parent, folder)
    path = folder / exported.path.name
    engine = path.with_suffix(".engine")
    shutil.copyfile(path, engine)
    described = Engine(engine.name, sha256_of(engine), "11.4.0", GPU).described()
    done = replace(exported, path=path, file=replace(exported.file, engine=described))
    note_in_listing(done)
    return done


@pytest.mark.usefixtures("fake_tensorrt")
def test_an_engine_gives_the_outputs_of_its_file_more_pictures_than_it_takes_at_a_time_too(
    exported_classifier, exported_detector, tmp_path
):
    rng = np.random.default_rng(0)
    for exported in (exported_classifier, exported_detector):
        done = with_engine(exported, tmp_path / exported.file.kind)
        images = rng.integers(0, 256, (2 * MOST + 1, 1, done.file.height, done.file.width), dtype=np.uint8)
        found = load_exported(done.path.parent, done.file.kind, runtime="tensorrt").session.run(images)
        expected = session_of(done.path, done.file, "onnxruntime").run(images)
        assert found.keys() == expected.keys()
        for name, values in found.items():
            assert values.dtype == expected[name].dtype
            assert np.allclose(values, expected[name], atol=1e-5)


@pytest.mark.usefixtures("fake_tensorrt")
def test_bench_lists_an_engine_where_tensorrt_is_there(exported_classifier, tmp_path):
    done = with_engine(exported_classifier, tmp_path / "exported")
    for device, among in (("auto", True), ("cpu", False)):
        timings = bench_inference([done.path.parent], batches=(1,), rounds=1, device=device)
        assert ("tensorrt" in {each.runtime for each in timings}) is among
        assert all(each.apart < 1e-5 for each in timings)


def test_auto_never_takes_the_engine(exported_classifier, tmp_path, fake_tensorrt):
    fake_tensorrt.Runtime = None
    done = with_engine(exported_classifier, tmp_path / "exported")
    assert load_exported(done.path.parent, "classifier").session.run(np.zeros((1, 1, 64, 64), np.uint8))


def missing(done, fake, monkeypatch):
    done.path.with_suffix(".engine").unlink()


def changed(done, fake, monkeypatch):
    done.path.with_suffix(".engine").write_bytes(b"something else")


def of_another_version(done, fake, monkeypatch):
    fake.__version__ = "10.16.0.72"


def of_another_gpu(done, fake, monkeypatch):
    monkeypatch.setattr(tensorrt_runtime, "gpu_name", lambda gpu: "NVIDIA L4")


def unreadable(done, fake, monkeypatch):
    engine = done.path.with_suffix(".engine")
    engine.write_bytes(b"of another kind of GPU")
    described = {**done.file.engine, "sha256": sha256_of(engine)}
    note_in_listing(replace(done, file=replace(done.file, engine=described)))


def not_listed(done, fake, monkeypatch):
    note_in_listing(replace(done, file=replace(done.file, engine={})))


def not_installed(done, fake, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (missing, r"There is no engine .*model\.engine, which export\.json lists.*--engine"),
        (changed, r"model\.engine was changed since it was built.*--engine"),
        (of_another_version, r"was built by TensorRT 11\.4\.0, which 10\.16\.0\.72 can't read.*--engine"),
        (of_another_gpu, r"was built on NVIDIA H200, and the GPU here is NVIDIA L4.*--engine"),
        (unreadable, r"TensorRT 11\.4\.0 can't read .*generated on an incompatible device.*--engine"),
        (not_listed, r"has no engine of TensorRT: export\.json lists none.*--engine"),
        (not_installed, "TensorRT is not installed.*pip install tensorrt"),
    ],
)
def test_an_engine_that_is_not_for_this_machine_is_one_sentence(
    harm, sentence, exported_classifier, tmp_path, fake_tensorrt, monkeypatch
):
    done = with_engine(exported_classifier, tmp_path / "exported")
    harm(done, fake_tensorrt, monkeypatch)
    with pytest.raises(XrayclsError, match=sentence):
        load_exported(done.path.parent, "classifier", runtime="tensorrt")


def test_a_processor_another_precision_and_no_gpu_are_refused(exported_classifier, tmp_path, monkeypatch):
    done = with_engine(exported_classifier, tmp_path / "exported")
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="11.4.0"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for settings, sentence in (
        ({"device": "cpu"}, "not on --device cpu"),
        ({"precision": "bf16"}, "precision of the engine, not in --precision bf16"),
        ({}, "there is none here"),
    ):
        with pytest.raises(XrayclsError, match=sentence):
            load_exported(done.path.parent, "classifier", runtime="tensorrt", **settings)


@pytest.mark.parametrize("verb", ["predict", "test", "cam", "detector detect", "detector evaluate"])
def test_every_verb_that_takes_exported_models_takes_the_runtime(
    verb, exported_classifier, exported_detector, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    exported = exported_detector if verb.startswith("detector") else exported_classifier
    data = ["--data", "."] if verb in ("test", "detector evaluate") else ["film.png"]
    with pytest.raises(SystemExit) as end:
        main([*verb.split(), str(exported.path.parent), *data, "--runtime", "tensorrt"])
    assert end.value.code == 1
    assert "has no engine of TensorRT" in " ".join(capsys.readouterr().err.split())


def test_the_form_of_tensorrts_plugin_gives_detections_and_is_for_tensorrt_alone(exported_detector, tmp_path):
    file = replace(exported_detector.file, form="trt")
    outputs = {
        "num_dets": np.array([[1]], np.int32),
        "det_boxes": np.array([[[1, 2, 30, 40], [0, 0, 0, 0]]], np.float32),
        "det_scores": np.array([[0.9, 0]], np.float32),
        "det_classes": np.array([[1, 0]], np.int32),
    }
    (found,) = detections_of(outputs, file)
    assert (found.boxes.tolist(), found.labels.tolist()) == ([[1, 2, 30, 40]], [1])
    with pytest.raises(XrayclsError, match=r"only TensorRT computes.*--runtime tensorrt"):
        session_of(exported_detector.path, file)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("kind", ["classifier", "detector"])
def test_a_built_engine_gives_what_onnxruntime_gives(kind, request, tmp_path):
    pytest.importorskip("tensorrt")
    done = export_model(request.getfixturevalue(f"{kind}_file"), tmp_path / "exported", form=FORMS[kind])
    serve_settings(done, engine=True)
    model = load_exported(done.path.parent, kind, runtime="tensorrt")
    images = np.random.default_rng(0).integers(0, 256, (40, 1, done.file.height, done.file.width), dtype=np.uint8)
    expected = session_of(done.path, done.file, "onnxruntime", device="cpu").run(images)
    for name, values in model.session.run(images).items():
        scale = max(float(np.abs(expected[name]).max()), 1.0)
        assert np.abs(values - expected[name]).max() < 5e-3 * scale  # TensorRT multiplies in TF32
    if kind == "classifier":
        (prediction,), _ = xraycls.predict(done.path.parent, images[0, 0], runtime="tensorrt")
        assert prediction.error is None
