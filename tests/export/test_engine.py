"""Engines: TensorRT for RTX, which builds on a CPU and has TensorRT's functions, reads and builds the files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xraycls.errors import UsageError, XrayclsError
from xraycls.export import engine
from xraycls.workflows.export import serve_settings

CHECKOUT = Path(__file__).parents[2]

BUILD = """
import pathlib, sys
import tensorrt_rtx
from xraycls.errors import XrayclsError
from xraycls.export.engine import serialized_engine
file, channels, height, width = sys.argv[1], *map(int, sys.argv[2:])
try:
    built = serialized_engine(tensorrt_rtx, pathlib.Path(file).read_bytes(), (channels, height, width))
    print("built", len(built))
except XrayclsError as error:
    print(error.message)
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Builds a file in an environment of its own; returns what is said of it."""
    folder = tmp_path_factory.mktemp("tensorrt-rtx")
    uv, python = [sys.executable, "-m", "uv"], folder / "env" / "bin" / "python"
    packages = (
        "tensorrt-rtx-cu13==1.7.1.116",
        "numpy",
        "opencv-python-headless",
        "pillow",
        "pydantic",
        "pydicom",
        "pyyaml",
    )
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, folder / "env"], check=True)
    done = subprocess.run(
        [*uv, "pip", "install", "--quiet", "--python", python, *packages], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"TensorRT for RTX can't be installed here: {done.stderr.strip().splitlines()[-1]}")

    def run(path: Path, shape: tuple[int, int, int]) -> str:
        command = [python, "-c", BUILD, path, *map(str, shape)]
        told = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(CHECKOUT)})
        assert told.returncode == 0, told.stderr
        return told.stdout.strip()

    yield run
    shutil.rmtree(folder / "env")


@pytest.mark.exhaustive
def test_an_engine_of_a_classifier_is_built(build, exported_classifier):
    kind, size = build(exported_classifier.path, (1, 64, 64)).split()
    assert kind == "built"
    assert int(size) > exported_classifier.path.stat().st_size // 2


@pytest.mark.exhaustive
def test_what_cannot_be_read_or_built_is_one_sentence(build, exported_detector, tmp_path):
    damaged = tmp_path / "model.onnx"
    damaged.write_bytes(b"no graph")
    assert build(damaged, (1, 64, 64)).startswith("TensorRT 1.7.1.116 can't read the file: ")
    suppressed = build(exported_detector.path, (1, 64, 96))  # that of RTX has no NonMaxSuppression
    assert suppressed.startswith("TensorRT 1.7.1.116 can't build the file: ")
    assert "\n" not in suppressed


@pytest.mark.slow
def test_without_tensorrt_or_a_gpu_the_command_is_told(exported_classifier, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(XrayclsError, match=r"pip install tensorrt.*trtexec --onnx=model.onnx"):
        serve_settings(exported_classifier, engine=True)
    monkeypatch.setitem(sys.modules, "tensorrt", pytest)
    monkeypatch.setattr(engine, "_has_gpu", lambda: False)
    with pytest.raises(UsageError, match=r"there is none here.*trtexec --onnx=model.onnx"):
        serve_settings(exported_classifier, engine=True)
