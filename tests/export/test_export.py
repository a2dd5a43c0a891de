"""Exported files give what the models give that they are made from."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.export import networks
from xraycls.errors import RunError, UsageError, XrayclsError
from xraycls.evaluation.detection.overlap import box_iou
from xraycls.export import folder as folder_module
from xraycls.export.graph import Graph, averaged_features, graph_of
from xraycls.export.onnx_file import onnx_of
from xraycls.export.parity import LIMITS, Limits
from xraycls.inference.choose import open_classifier
from xraycls.inference.exported import find_exported, read_listing
from xraycls.models.classifier import Classifier, load_classifier, save_classifier
from xraycls.models.detection.files import load_detector, save_detector
from xraycls.workflows.export import export_model


def pictures(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, 1, height, width), dtype=np.uint8)


def run(path, images: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": images}), strict=True))


@pytest.mark.slow
def test_a_classifiers_file_is_one_file_of_opset_20_with_any_batch_and_grey_pictures(exported_classifier):
    assert sorted(path.name for path in exported_classifier.path.parent.iterdir()) == [
        "export.json",
        "labels.txt",
        "model.onnx",
    ]
    model = onnx.load(exported_classifier.path)
    onnx.checker.check_model(model, full_check=True)
    (image,) = model.graph.input
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert image.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [dim.dim_value for dim in image.type.tensor_type.shape.dim[1:]] == [1, 64, 64]
    assert [each.version for each in model.opset_import if not each.domain] == [20]
    described = json.loads({p.key: p.value for p in model.metadata_props}["xraycls"])
    assert described["classes"] == ["NORMAL", "PNEUMONIA"]
    assert described["threshold"] == 0.4
    assert not any(node.metadata_props for node in model.graph.node)
    assert (exported_classifier.path.parent / "labels.txt").read_text() == "NORMAL\nPNEUMONIA\n"


@pytest.mark.slow
def test_a_classifiers_file_gives_its_logits(exported_classifier, classifier_file):
    classifier, _ = load_classifier(classifier_file)
    for count in (1, 3, 8):
        images = pictures(count, 64, 64)
        with torch.no_grad():
            expected = classifier(torch.from_numpy(images)).numpy()
        found = run(exported_classifier.path, images)["logits"]
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.slow
def test_the_maps_of_a_classifiers_file_are_those_of_grad_cam(exported_classifier, classifier_file):
    classifier, _ = load_classifier(classifier_file)
    images = pictures(2, 64, 64)
    kept = []
    classifier.net.layer4.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    logits = classifier(torch.from_numpy(images))
    maps = run(exported_classifier.path, images)["cam"]
    for target in (0, 1):  # Selvaraju et al. 2017, equations 1 and 2, before the rectifier
        (gradients,) = torch.autograd.grad(logits[:, target].sum(), kept[0], retain_graph=True)
        weights = gradients.sum(dim=(2, 3), keepdim=True)
        expected = (weights * kept[0]).sum(dim=1).detach().numpy()
        assert np.allclose(maps[:, target], expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_a_detectors_file_gives_its_detections(exported_detector, detector_file):
    detector, _ = load_detector(detector_file)
    images = pictures(3, 64, 96)
    with torch.no_grad():
        expected = detector.detect(detector(torch.from_numpy(images)))
    found = run(exported_detector.path, images)
    for row, each in enumerate(expected):
        number = int(found["num_detections"][row, 0])
        assert number == len(each) > 5
        overlap = np.diagonal(box_iou(found["detection_boxes"][row, :number].astype(float), each.boxes.astype(float)))
        assert overlap.min() > 0.999
        assert found["detection_classes"][row, :number].tolist() == each.labels.tolist()
        assert np.allclose(found["detection_scores"][row, :number], each.scores, atol=1e-5)
        assert not found["detection_scores"][row, number:].any()


@pytest.mark.slow
def test_the_listing_tells_thresholds_versions_and_what_was_compared(exported_detector):
    file = exported_detector.file
    assert read_listing(exported_detector.path.parent) == [file]
    assert (file.confidence, file.iou, file.top_k) == (0.05, 0.45, 20)
    assert {each["batch"] for each in file.parity} == {1, 2, 5}
    assert sum(each["compared"] for each in file.parity) > 50
    assert all(each["passed"] for each in file.parity)
    assert torch.__version__.startswith(file.versions["torch"])
    assert (exported_detector.path.parent / "labels.txt").read_text() == "background\nnodule\nopacity\n"


@pytest.mark.slow
def test_a_file_that_was_changed_is_refused(exported_detector, tmp_path):
    copy = tmp_path / "model.onnx"
    content = bytearray(exported_detector.path.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    (tmp_path / "export.json").write_bytes((exported_detector.path.parent / "export.json").read_bytes())
    with pytest.raises(RunError, match="was changed since it was exported: its sha256"):
        find_exported(tmp_path)


def test_an_onnx_file_of_others_is_refused(tmp_path):
    for name, given in (("theirs.onnx", tmp_path / "theirs.onnx"), ("model.onnx", tmp_path)):
        (tmp_path / name).write_bytes(b"anything")
        with pytest.raises(RunError, match=rf"{name} is an ONNX file that xraycls export didn't write"):
            open_classifier(given)


@pytest.mark.parametrize("name", ["model.engine", "model.plan"])
def test_an_engine_is_refused_as_a_model(name, tmp_path):
    (tmp_path / name).write_bytes(b"ftrt")
    with pytest.raises(RunError, match=r"is an engine of TensorRT.*Give .*model.onnx with --runtime tensorrt"):
        open_classifier(tmp_path / name)


def test_three_channels_are_for_networks_that_have_a_mean_for_each(classifier_file, tmp_path):
    with pytest.raises(UsageError, match=r"takes grey pictures, not the three channels of --input bgr"):
        export_model(classifier_file, tmp_path, input="bgr")
    with pytest.raises(UsageError, match=r"Unknown input 'rgb'"):
        export_model(classifier_file, tmp_path, input="rgb")
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_file_that_does_not_agree_is_not_left_behind(exported_detector, detector_file, tmp_path, monkeypatch):
    model = onnx.load(exported_detector.path)
    monkeypatch.setattr(folder_module, "onnx_of", lambda *_: model)
    monkeypatch.setitem(LIMITS, "fp32", Limits(0.0, -1.0, 1.0, 2.0))
    with pytest.raises(XrayclsError, match=r"doesn't agree with torch: its .* differ by .* it was not kept"):
        export_model(detector_file, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_exports_of_two_models_do_not_share_a_folder(exported_detector, classifier_file):
    with pytest.raises(RunError, match=r"holds exports of another model, model\.safetensors"):
        export_model(classifier_file, exported_detector.path.parent, form="probabilities")


def test_an_unknown_form_is_refused():
    with pytest.raises(UsageError, match=r"detector can't be exported in the form 'logits' of --form\. Choose nms"):
        graph_of(networks.ssd(), "logits")


class Specialised(torch.nn.Module):
    def forward(self, images):
        return images.reshape(int(images.shape[0]) if images.shape[0] == 2 else -1, -1)


class Eigenvalues(torch.nn.Module):
    def forward(self, images):
        return torch.linalg.eigvals(images.float()).real.flatten(1)


class OneLayer(Graph):
    form, names, height, width = "raw", ("raw",), 8, 8

    def __init__(self, layer):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Identity(), layer)

    def forward(self, image):
        return (self.net(image.float()),)


@pytest.mark.slow
def test_a_batch_of_one_size_is_refused():
    with pytest.raises(XrayclsError, match="would take 2 pictures at a time and no other number"):
        onnx_of(OneLayer(Specialised()), "uint8", {})


@pytest.mark.slow
def test_an_operator_without_counterpart_is_named_with_its_layer():
    with pytest.raises(XrayclsError, match=r"aten\.linalg_eig\.default in the layer net\.1 has no counterpart in ONNX"):
        onnx_of(OneLayer(Eigenvalues()), "uint8", {})


def test_maps_are_left_out_of_networks_whose_logits_are_not_of_averaged_features():
    assert averaged_features(networks.classifier()) == "layer4"
    assert averaged_features(networks.classifier("AlexNet", 64)) is None


FORMS = ("nms", "heads", "tao", "trt")
CASES = [
    *((name, None, "fp32") for name in networks.NETWORKS),
    *((name, form, "fp32") for name in ("ssd", "yolo_v4_tiny", "faster_rcnn") for form in FORMS[1:]),
    *((name, None, precision) for name in ("classifier", "ssd", "faster_rcnn") for precision in ("fp16", "bf16")),
    ("classifier", "probabilities", "fp32"),
]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "form", "precision"), CASES)
def test_every_network_in_every_form_and_precision(name, form, precision, tmp_path):
    model = networks.NETWORKS[name]()
    save = save_classifier if isinstance(model, Classifier) else save_detector
    save(model, tmp_path / "model.safetensors")
    done = export_model(tmp_path / "model.safetensors", tmp_path / "out", form=form, precision=precision, input="float")
    assert all(each.passed for each in done.parity)
    assert sum(each.compared for each in done.parity) > 10
