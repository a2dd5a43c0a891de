"""A detector finds the same in files, bytes and arrays, in pixels of each picture."""

import shutil

import cv2
import numpy as np
import pytest
import torch

import xraycls
from tests.models.detectors import small_detector
from xraycls.data.open import open_image
from xraycls.errors import RunError, UsageError
from xraycls.inference.detection import TrainedDetector
from xraycls.inference.load import load_detector_model
from xraycls.loaders.recipes.ssd import SSDRecipe
from xraycls.loaders.render import render
from xraycls.loaders.views import Canvas
from xraycls.models.detection.files import save_detector
from xraycls.types import Sample


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("detector") / "ssd.safetensors"
    save_detector(small_detector(), path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two pictures of different sizes."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name, shape in (("a.png", (90, 120)), ("b.png", (200, 100))):
        cv2.imwrite(str(folder / name), rng.integers(0, 256, shape, np.uint8))
    return folder


def test_boxes_are_in_pixels_of_each_picture(model, pictures):
    results, _ = xraycls.detect(model, pictures, threshold=0, precision="fp32", batch_size=2)
    detector = load_detector_model(model).detector
    for result in results:
        image = open_image(Sample(result.sample.path))
        config = detector.config
        view = SSDRecipe(Canvas(config.height, config.width)).evaluation_views((image.width, image.height))[0]
        drawn = render(image, view, Canvas(config.height, config.width))
        with torch.inference_mode():
            (alone,) = detector.detect(detector(torch.from_numpy(drawn)[None, None]))
        scale = np.array([image.width / config.width, image.height / config.height] * 2)
        assert len(alone) > 0
        np.testing.assert_allclose(result.output.boxes, alone.boxes * scale, rtol=1e-4, atol=0.01)
        np.testing.assert_allclose(result.output.scores, alone.scores, atol=1e-5)


def test_arrays_and_bytes_give_what_files_give(model, pictures):
    path = pictures / "a.png"
    kinds = [path, path.read_bytes(), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)]
    results, _ = xraycls.detect(model, kinds, threshold=0, precision="fp32")
    for result in results[1:]:
        np.testing.assert_allclose(result.output.boxes, results[0].output.boxes, atol=1e-3)


def test_a_threshold_leaves_out_what_scores_less(model, pictures):
    every, _ = xraycls.detect(model, pictures / "a.png", threshold=0, precision="fp32")
    scores = every[0].output.scores
    middle = float(scores[len(scores) // 2])
    some, _ = xraycls.detect(model, pictures / "a.png", threshold=middle, precision="fp32")
    assert len(some[0].output) == (scores >= middle).sum() < len(scores)


def test_a_bad_picture_keeps_its_place(model, pictures):
    results, _ = xraycls.detect(model, [pictures / "a.png", b"damaged"])
    assert results[0].error is None
    assert results[1].output is None
    assert "picture 2" in results[1].error


@pytest.mark.parametrize("threshold", [-0.1, 1.5])
def test_a_threshold_out_of_range_is_refused(model, pictures, threshold):
    with pytest.raises(UsageError, match="between 0 and 1"):
        xraycls.detect(model, pictures, threshold=threshold)


def test_one_function_loads_a_detector_by_its_file_its_run_or_under_a_key(model, tmp_path):
    run = tmp_path / "runs" / "first"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("kind: detector\n")
    with pytest.raises(RunError, match="first holds no weights yet"):
        xraycls.load_model(run)
    shutil.copy(model, run / "checkpoints" / "best.safetensors")
    save_detector(small_detector(), tmp_path / "secret.tlt", key="k")
    for name, options in (
        (model, {}),
        (model.with_suffix(".hdf5"), {}),  # as scripts of TAO name it
        (run, {}),
        ("first", {"runs": run.parent}),
        (tmp_path / "secret.tlt", {"key": "k"}),
    ):
        loaded = xraycls.load_model(name, **options)
        assert isinstance(loaded, TrainedDetector)
        assert loaded.classes == ("nodule", "opacity")
    with pytest.raises(UsageError, match="is encrypted, and no key is given"):
        xraycls.load_model(tmp_path / "secret.tlt")


def test_a_run_folder_is_a_detector_to_detect_with(model, pictures, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text("kind: detector\n")
    shutil.copy(model, tmp_path / "checkpoints" / "best.safetensors")
    results, classes = xraycls.detect(tmp_path, pictures / "a.png", threshold=0)
    assert classes == ("nodule", "opacity")
    assert len(results[0].output)
