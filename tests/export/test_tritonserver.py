"""A real tritonserver, of the wheel nvidia-pytriton in an environment of its own, answers as onnxruntime does."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

pytest.importorskip("google.protobuf", reason="needs the extra: tao")

from tests.data.dicoms import write
from xraycls.export.triton import write_repository

pytestmark = pytest.mark.exhaustive

EXAMPLES = Path(__file__).parents[2] / "examples" / "triton"
TYPES = {"UINT8": np.uint8, "INT32": np.int32, "FP32": np.float32}


class Client:
    """Speaks the protocol KServe v2 with binary tensors, as its specification says."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str) -> dict:
        return json.loads(urllib.request.urlopen(f"http://{self.url}/v2/{path}", timeout=60).read())

    def infer(self, model: str, name: str, kind: str, shape: tuple[int, ...], content: bytes) -> dict[str, np.ndarray]:
        given = {"name": name, "datatype": kind, "shape": shape, "parameters": {"binary_data_size": len(content)}}
        head = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}}).encode()
        request = urllib.request.Request(
            f"http://{self.url}/v2/models/{model}/infer",
            data=head + content,
            headers={"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            length = int(answer.headers["Inference-Header-Content-Length"])
            body = answer.read()
        found, start = {}, length
        for each in json.loads(body[:length])["outputs"]:
            end = start + each["parameters"]["binary_data_size"]
            numbers = np.frombuffer(body[start:end], TYPES[each["datatype"]])
            found[each["name"]], start = numbers.reshape(each["shape"]), end
        return found

    def images(self, model: str, images: np.ndarray) -> dict[str, np.ndarray]:
        kind = next(name for name, each in TYPES.items() if each == images.dtype)
        return self.infer(model, "image", kind, images.shape, images.tobytes())

    def files(self, model: str, files: list[bytes]) -> dict[str, np.ndarray]:
        content = b"".join(len(each).to_bytes(4, "little") + each for each in files)
        return self.infer(f"{model}_file", "file", "BYTES", (len(files), 1), content)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The Python of an environment with a tritonserver in it."""
    folder = tmp_path_factory.mktemp("tritonserver") / "env"
    uv = [sys.executable, "-m", "uv"]
    python = folder / "bin" / "python"
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    packages = EXAMPLES / "requirements.txt"
    done = subprocess.run(
        [*uv, "pip", "install", "--quiet", "--python", python, "-r", packages], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"a tritonserver can't be installed here: {done.stderr.strip().splitlines()[-1]}")
    yield python
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def served(environment, exported_classifier, exported_detector, tmp_path_factory):
    """A client of a server with a classifier and a detector."""
    folder = tmp_path_factory.mktemp("served")
    for name, done in (("chest", exported_classifier), ("finder", exported_detector)):
        write_repository(done.path, done.file, folder / "models", name=name, backend="python", max_batch_size=8)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [environment, EXAMPLES / "server.py", folder / "models", "--port", str(port), "--log", folder / "log"]
    with subprocess.Popen(command) as server:
        client = Client(f"127.0.0.1:{port}")
        try:
            for _ in range(240):
                try:
                    client.get("models/finder_file/config")
                    break
                except OSError:
                    time.sleep(0.5)
            else:
                pytest.fail((folder / "log").read_text()[-2000:])
            yield client
        finally:
            server.terminate()


def onnxruntime_of(done, images: np.ndarray) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    session = onnxruntime.InferenceSession(str(done.path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": images}), strict=True))


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in found)


def drawn(number: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, 1, height, width), dtype=np.uint8)


@pytest.mark.parametrize("number", [1, 3, 8])
def test_pictures_are_answered_bit_for_bit_as_by_onnxruntime(served, exported_classifier, exported_detector, number):
    for name, done in (("chest", exported_classifier), ("finder", exported_detector)):
        images = drawn(number, done.file.height, done.file.width)
        assert same(served.images(name, images), onnxruntime_of(done, images))


DRAW = """
import sys, pathlib, numpy
from xraycls.data.open import open_content
from xraycls.inference.exported import read_listing
from xraycls.loaders.render import render
recipe = read_listing(pathlib.Path(sys.argv[1]))[0].recipe
films = [open_content(pathlib.Path(name).read_bytes(), pathlib.Path(name)) for name in sys.argv[3:]]
views = [recipe.evaluation_views((film.width, film.height))[0] for film in films]
numpy.save(sys.argv[2], [[render(film, view, recipe.canvas)] for film, view in zip(films, views)])
"""


def test_files_are_drawn_and_answered_together(environment, served, exported_classifier, exported_detector, tmp_path):
    paths = [tmp_path / "tall.png", tmp_path / "flat.png"]
    for path, side in zip(paths, (120, 70), strict=True):
        cv2.imwrite(str(path), drawn(1, side, 90)[0, 0])
    paths.append(tmp_path / "film.dcm")
    twelve_bits = 16 * drawn(1, 80, 100)[0, 0].astype(np.uint16)
    write(paths[-1], twelve_bits, PhotometricInterpretation="MONOCHROME1")
    for name, done in (("chest", exported_classifier), ("finder", exported_detector)):
        # OpenCV of the environment is an older one, which rounds otherwise where it resizes.
        command = [environment, "-c", DRAW, done.path.parent, tmp_path / "images.npy", *paths]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(EXAMPLES.parents[1])})
        expected = onnxruntime_of(done, np.load(tmp_path / "images.npy"))
        assert same(served.files(name, [path.read_bytes() for path in paths]), expected)


def test_requests_of_one_time_are_put_together(served, exported_classifier):
    images = drawn(1, exported_classifier.file.height, exported_classifier.file.width)
    before = served.get("models/chest/stats")["model_stats"][0]
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: served.images("chest", images), range(96)))
    after = served.get("models/chest/stats")["model_stats"][0]
    expected = onnxruntime_of(exported_classifier, images)
    assert all(same(answer, expected) for answer in answers)
    requests, executions = (after[name] - before[name] for name in ("inference_count", "execution_count"))
    assert requests == 96
    assert executions < requests


def refusal(ask) -> str:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask()
    assert 400 <= refused.value.code < 600
    (sentence,) = json.loads(refused.value.read()).values()
    assert "Traceback" not in sentence
    assert "\n" not in sentence
    return sentence


def test_a_wrong_shape_or_type_or_file_is_one_sentence_and_the_server_goes_on(served, exported_classifier):
    height, width = exported_classifier.file.height, exported_classifier.file.width
    good = drawn(1, height, width)
    small = refusal(lambda: served.images("chest", good[..., 1:]))
    assert f"unexpected shape for input 'image' for model 'chest'. Expected [-1,1,{height},{width}], got" in small
    colours = refusal(lambda: served.images("chest", good.repeat(3, axis=1)))
    assert f"got [1,3,{height},{width}]" in colours
    floats = refusal(lambda: served.images("chest", good.astype(np.float32)))
    assert "data-type is 'FP32', but model 'chest' expects 'UINT8'" in floats
    many = refusal(lambda: served.images("chest", good.repeat(9, axis=0)))
    assert "batch-size must be <= 8" in many
    words = refusal(lambda: served.files("chest", [b"no picture"]))
    assert "chest_file" in words
    assert "not an image" in words
    named = refusal(lambda: served.infer("chest", "picture", "UINT8", good.shape, good.tobytes()))
    assert "'picture'" in named or "'image'" in named
    assert "unknown" in refusal(lambda: served.images("another", good))
    assert same(served.images("chest", good), onnxruntime_of(exported_classifier, good))


def test_the_client_of_the_examples_prints_answers_and_refusals(environment, served, tmp_path):
    film = tmp_path / "film.png"
    cv2.imwrite(str(film), drawn(1, 80, 70)[0, 0])
    client = [environment, EXAMPLES / "client.py", "--url", served.url]
    for model, output in (("chest", "logits"), ("finder", "detection_scores")):
        done = subprocess.run([*client, model, film, film], capture_output=True, text=True, check=True)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert [answer["file"] for answer in answers] == [str(film)] * 2
        assert answers[0][output] == answers[1][output]
    film.write_text("no picture")
    done = subprocess.run([*client, "chest", film], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
