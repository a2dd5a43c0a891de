"""One predictor serves files, folders and memory, and yields while it goes on."""

import threading
import time

import cv2
import numpy as np
import pytest
import torch

import xraycls
from tests.data.dicoms import RAMP, dataset_of
from xraycls.data.source import read_table
from xraycls.errors import DataError
from xraycls.inference.classification import TrainedModel
from xraycls.inference.predictor import Predictor
from xraycls.inference.results import overlapped
from xraycls.models.classifier import build_classifier, save_classifier
from xraycls.training import precision


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> TrainedModel:
    """A classifier of random weights, saved and loaded."""
    torch.manual_seed(0)
    classifier, _ = build_classifier("ResNet18", ("NORMAL", "PNEUMONIA"), weights="none", size=32)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_classifier(classifier, path)
    return xraycls.load_model(path)


def outputs(model, pictures, **options):
    results = list(Predictor(model=model, precision="fp32", threads=1, **options)(pictures))
    return np.array([result.output for result in results])


def test_probabilities_are_those_of_the_classifier_on_pictures_drawn_one_by_one(model, tiny):
    table = read_table(tiny).split("test")
    results = list(Predictor(model=model, precision="fp32", batch_size=3, keep_inputs=True).over(table))
    assert [result.index for result in results] == list(range(len(table)))
    drawn = torch.from_numpy(np.stack([result.input for result in results]))[:, None]
    with torch.inference_mode():
        expected = model.classifier(drawn).softmax(1).numpy()
    np.testing.assert_allclose(np.array([result.output for result in results]), expected, atol=1e-5)


def test_pictures_are_classified_in_the_precision_that_the_model_was_validated_in(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "computes_bf16", lambda device: True)
    table = read_table(tiny).split("val")
    torch.manual_seed(0)
    classifier, _ = build_classifier("ResNet18", ("NORMAL", "PNEUMONIA"), weights="none", size=32)

    def found(validated, asked):
        save_classifier(classifier, tmp_path / "model.safetensors", extra={"precision": validated})
        model = xraycls.load_model(tmp_path / "model.safetensors")
        return np.array([result.output for result in Predictor(model=model, precision=asked, threads=1).over(table)])

    exact, coarse = found("fp32", "fp32"), found("fp32", "bf16")
    assert not np.array_equal(exact, coarse)
    assert np.array_equal(found("fp32", "auto"), exact)
    assert np.array_equal(found("bf16", "auto"), coarse)


def test_a_file_its_bytes_and_its_pixels_give_the_same(model, tiny):
    path = next((tiny / "test" / "PNEUMONIA").iterdir())
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    from_path, from_bytes, from_pixels = outputs(model, [path, path.read_bytes(), pixels])
    np.testing.assert_array_equal(from_path, from_bytes)
    np.testing.assert_allclose(from_pixels, from_path, atol=1e-5)


def test_predict_takes_one_path_one_array_or_one_dataset(model):
    array = np.zeros((40, 40), np.uint8)
    for picture in (array, cv2.imencode(".png", array)[1].tobytes(), dataset_of(RAMP)):
        (prediction,), classes = xraycls.predict(model.weights, picture)
        assert prediction.error is None
        assert prediction.name == "picture 1"
        assert classes == ("NORMAL", "PNEUMONIA")


@pytest.mark.parametrize("function", [xraycls.predict, xraycls.cam])
def test_a_plain_string_is_one_path(model, tiny, function):
    path = str(next((tiny / "test" / "NORMAL").iterdir()))
    found = function(model.weights, path)
    assert [each.name for each in (found[0] if function is xraycls.predict else found)] == [path]


def test_bad_pictures_keep_their_place_and_say_why(model, tiny):
    good = next((tiny / "test" / "NORMAL").iterdir())
    results = list(Predictor(model=model, batch_size=2)([good, b"damaged", good, np.zeros((2, 3, 4, 5)), "gone.png"]))
    assert [result.error is None for result in results] == [True, False, True, False, False]
    assert ["picture 2" in results[1].error, "[2, 3, 4, 5]" in results[3].error, "gone.png" in results[4].error] == [
        True
    ] * 3
    np.testing.assert_array_equal(results[0].output, results[2].output)


def test_strict_stops_at_a_bad_picture(model):
    with pytest.raises(DataError, match="picture 1"):
        list(Predictor(model=model, strict=True)(b"damaged"))


def test_results_come_before_all_pictures_are_read(model):
    read = []

    class Watched(np.ndarray):
        @property
        def ndim(self):
            read.append(1)
            return 2

    pictures = [np.zeros((40, 40), np.uint8).view(Watched) for _ in range(64)]
    results = Predictor(model=model, batch_size=1, threads=1)(pictures)
    next(results)
    assert len(read) < 64
    assert len(list(results)) == 63


def test_cam_explains_a_picture_in_memory(model):
    (explanation,) = xraycls.cam(model.weights, np.full((50, 60), 90, np.uint8), target="PNEUMONIA")
    assert explanation.image.shape == (50, 60)
    assert explanation.class_name == "PNEUMONIA"
    assert explanation.picture.ndim == 3


def test_work_goes_on_while_the_next_items_are_fetched():
    started = threading.Event()

    def items():
        yield 1
        assert started.wait(10), "the first item was not worked on before the second was asked for"
        yield 2

    def work(item):
        started.set()
        return 10 * item

    assert list(overlapped(items(), work, threads=1)) == [10, 20]


def test_an_error_of_work_comes_at_its_turn():
    def work(item):
        if item == 2:
            raise DataError("the third")
        time.sleep(0.001)
        return item

    found = []
    with pytest.raises(DataError, match="the third"):
        found.extend(overlapped(range(5), work, threads=2))
    assert found == [0, 1]
