"""What an exported file computes: a trained model between its input and the outputs of a form."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from xraycls.errors import UsageError
from xraycls.export.suppression import DenseDetections, dense_detections, efficient_nms
from xraycls.models.classifier import Classifier
from xraycls.models.detection.base import Detector
from xraycls.models.detection.map_detector import MapDetector
from xraycls.models.folding import fold_batch_norms
from xraycls.models.quantization import hold_weight_scales

Precision = Literal["fp32", "fp16", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_NUMBERS = {"fp16": torch.float16, "bf16": torch.bfloat16}

Outputs = tuple[Tensor, ...]


class Graph(nn.Module, ABC):
    """A model as a file holds it: pictures [B, 1, H, W] of grey levels 0–255, uint8 or float32, to named outputs.

    Attributes:
        form: the name of its set of outputs.
        names: of the outputs.
        height: of the input, pixels.
        width: of the input, pixels.
        opset: version of ONNX's operators that it needs.
    """

    form: str
    names: tuple[str, ...]
    height: int
    width: int
    opset = 20

    @abstractmethod
    def forward(self, image: Tensor) -> Outputs:
        """Returns the outputs, float32 or int32, the batch first."""


class ClassifierGraph(Graph):
    """A classifier.

    The form ``logits`` has, besides the logits [B, C], the class activation maps [B, C, h, w] of a network whose
    logits are a linear layer of averaged features (Zhou et al. 2016); ``probabilities`` has what they mean alone, as
    DeepStream's classifiers want it.

    Args:
        classifier: in evaluation mode; a copy is kept.
        form: one of ``FORMS``.
        precision: number format of the network; inputs and outputs stay as they are.
    """

    FORMS = ("logits", "probabilities")

    def __init__(self, classifier: Classifier, form: str = "logits", precision: Precision = "fp32") -> None:
        super().__init__()
        self.form, self.height, self.width = form, classifier.size, classifier.size
        self.classifier = copy.deepcopy(classifier).to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
        self.pooled = averaged_features(self.classifier) if form == "logits" else None
        self.names = {"logits": ("logits", "cam") if self.pooled else ("logits",)}.get(form, (form,))
        blank = torch.zeros(1, 1, self.height, self.width, dtype=torch.uint8)
        fold_batch_norms(self.classifier.net, lambda: self.classifier(blank))
        self.opset = compute_in(self.classifier.net, precision)

    def forward(self, image: Tensor) -> Outputs:
        """Returns logits and maps, or probabilities."""
        kept: list[Tensor] = []
        hook = None
        if self.pooled:
            layer = self.classifier.net.get_submodule(self.pooled)
            hook = layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
        logits = self.classifier.net(self.classifier.normalized(image)).float()
        if self.form == "probabilities":
            return (self.classifier.probabilities(logits),)
        if hook is None:
            return (logits,)
        hook.remove()
        head = self.classifier.net.get_submodule(self.classifier.head)
        assert isinstance(head, nn.Linear)
        maps = nn.functional.conv2d(kept[0].float(), head.weight.float()[:, :, None, None])
        return logits, maps


class DetectorGraph(Graph):
    """A detector; see :data:`DETECTOR_FORMS`.

    Args:
        detector: in evaluation mode; a copy is kept.
        form: one of ``DETECTOR_FORMS``.
        precision: number format of the network; decoding and suppression are computed in float32.
    """

    def __init__(self, detector: Detector, form: str = "nms", precision: Precision = "fp32") -> None:
        super().__init__()
        self.form, self.height, self.width = form, detector.config.height, detector.config.width
        self.detector = copy.deepcopy(detector).to("cpu").eval()
        blank = torch.zeros(1, 1, self.height, self.width, dtype=torch.uint8)
        fold_batch_norms(self.detector.net, lambda: self.detector(blank))
        self.opset = compute_in(self.detector.net, precision)
        self.names, self.compute = DETECTOR_FORMS[form](self.detector)

    def forward(self, image: Tensor) -> Outputs:
        """Returns the outputs of the form."""
        return self.compute(*self.detector.candidates(self.detector(image)))


class MapsGraph(Graph):
    """A U-Net, whose file ends with probability maps: readers make boxes of them, by the rule in the description.

    Outputs are ``masks`` [B, C, h, w] and ``pictures`` [B, C], the probability that a picture has such an object; with
    centres also ``centres`` [B, C, h, w] and ``boxes`` [B, h, w, 4], the box that each cell gives, in cells.

    Args:
        detector: in evaluation mode; a copy is kept.
        precision: number format of the network.
    """

    form = "maps"

    def __init__(self, detector: MapDetector, precision: Precision = "fp32") -> None:
        super().__init__()
        self.height, self.width = detector.config.height, detector.config.width
        self.detector = copy.deepcopy(detector).to("cpu").eval()
        blank = torch.zeros(1, 1, self.height, self.width, dtype=torch.uint8)
        fold_batch_norms(self.detector.net, lambda: self.detector(blank))
        self.opset = compute_in(self.detector.net, precision)
        with torch.no_grad():
            maps = self.detector.probability_maps(self.detector(blank))
        self.names = ("masks", "pictures", "centres", "boxes")[: len(maps)]

    def forward(self, image: Tensor) -> Outputs:
        """Returns the maps."""
        return self.detector.probability_maps(self.detector(image))


Form = tuple[tuple[str, ...], Callable[[Tensor, Tensor], Outputs]]
"""Names of outputs, and how they are computed from scores [B, A, C] and boxes [B, A, 4] or [B, A, C, 4]."""


def _heads(detector: Detector) -> Form:
    return ("scores", "boxes"), lambda scores, boxes: (scores, boxes)


def _suppressed(detector: Detector) -> Callable[[Tensor, Tensor], DenseDetections]:
    limits = detector.size.clone() if detector.cuts_boxes else None
    return lambda scores, boxes: dense_detections(scores, boxes, detector.config.suppression, limits)


def _nms(detector: Detector) -> Form:
    compute = _suppressed(detector)

    def outputs(scores: Tensor, boxes: Tensor) -> Outputs:
        found = compute(scores, boxes)
        return found.number, found.boxes, found.scores, found.labels

    return ("num_detections", "detection_boxes", "detection_scores", "detection_classes"), outputs


def _trt(detector: Detector) -> Form:
    def outputs(scores: Tensor, boxes: Tensor) -> Outputs:
        found = efficient_nms(scores, boxes, detector.config.suppression)
        return found.number, found.boxes, found.scores, found.labels

    return ("num_dets", "det_boxes", "det_scores", "det_classes"), outputs


def _tao(detector: Detector) -> Form:
    """Rows of 7, or four tensors where TAO's labels have no background; boxes in shares of the input."""
    compute, name = _suppressed(detector), detector.tao_output
    if not name:
        raise UsageError(f"TAO has no exported form of {detector.config.network}", "Choose --form heads, nms or trt")

    def four(scores: Tensor, boxes: Tensor) -> Outputs:
        found = compute(scores, boxes)
        return found.number, found.boxes / detector.size, found.scores, found.labels.float()

    def rows(scores: Tensor, boxes: Tensor) -> Outputs:
        found = compute(scores, boxes)
        first = 1.0 if detector.tao_background == "first" else 0.0
        present = (found.scores > 0).float()
        picture = torch.arange(scores.shape[0], dtype=torch.float32)[:, None].expand(-1, found.scores.shape[1])
        marks = [picture, (found.labels.float() + first) * present, found.scores]
        together = torch.cat([torch.stack(marks, dim=-1), found.boxes / detector.size], dim=-1)
        return together[:, None], found.number[:, None, None]

    if detector.tao_background is None:
        return (name, f"{name}_1", f"{name}_2", f"{name}_3"), four
    return (name, f"{name}_1"), rows


DETECTOR_FORMS: Mapping[str, Callable[[Detector], Form]] = {"nms": _nms, "heads": _heads, "tao": _tao, "trt": _trt}
"""Sets of outputs of a detector.

``nms``: detections after suppression by ONNX's own operator, of a fixed number; ``heads``: scores and decoded boxes
before suppression; ``tao``: as ``nms``, with the names and layouts of TAO's files; ``trt``: by TensorRT's plugin.
"""


def graph_of(model: Classifier | Detector, form: str | None = None, precision: Precision = "fp32") -> Graph:
    """Returns a model as a file of a form holds it.

    Args:
        model: a classifier or a detector.
        form: one of those of its kind; None for the first.
        precision: number format of the network.

    Raises:
        UsageError: there is no such form of this model.

    Example:
        >>> from xraycls.export.graph import graph_of
        >>> from xraycls.models.detection.registry import build_detector
        >>> from xraycls.models.detection.ssd import SSDConfig
        >>> detector = build_detector(SSDConfig(backbone="resnet10", classes=("nodule",), height=64, width=64))
        >>> graph_of(detector, "heads").names
        ('scores', 'boxes')
    """
    forms = forms_of(model)
    chosen = forms[0] if form is None else form
    if chosen not in forms:
        kind = "classifier" if isinstance(model, Classifier) else "U-Net" if len(forms) == 1 else "detector"
        raise UsageError(f"A {kind} can't be exported in the form {chosen!r} of --form", f"Choose {', '.join(forms)}")
    if isinstance(model, Classifier):
        return ClassifierGraph(model, chosen, precision)
    if isinstance(model, MapDetector):
        return MapsGraph(model, precision)
    return DetectorGraph(model, chosen, precision)


def forms_of(model: Classifier | Detector) -> tuple[str, ...]:
    """Returns the forms that a model can be exported in, its default first."""
    if isinstance(model, Classifier):
        return ClassifierGraph.FORMS
    return (MapsGraph.form,) if isinstance(model, MapDetector) else tuple(DETECTOR_FORMS)


def compute_in(net: nn.Module, precision: Precision) -> int:
    """Let a network compute in a number format, whatever its inputs are; returns the version of operators it needs.

    In "int8" a network has quantisers already, see :mod:`xraycls.export.quantized`.
    """
    if precision == "int8":
        hold_weight_scales(net)
    if precision not in _NUMBERS:
        return 20
    number = _NUMBERS[precision]
    net.to(number)
    for module in net.modules():
        if next(module.parameters(recurse=False), None) is not None:
            module.register_forward_pre_hook(lambda _, inputs: tuple(each.to(number) for each in inputs))
    return 22 if precision == "bf16" else 20  # convolutions take bf16 from version 22 on


def averaged_features(classifier: Classifier) -> str | None:
    """Returns the path of the layer whose averaged maps the last, linear layer takes; None where there is none such."""
    layer = classifier.architecture.cam_layer
    head = classifier.net.get_submodule(classifier.head)
    if layer is None or not isinstance(head, nn.Linear):
        return None
    maps: list[Tensor] = []
    features: list[Tensor] = []
    hooks = [
        classifier.net.get_submodule(layer).register_forward_hook(lambda _m, _i, output: maps.append(output)),
        head.register_forward_pre_hook(lambda _m, inputs: features.append(inputs[0]), prepend=True),
    ]
    try:
        with torch.no_grad():
            picture = torch.randint(0, 256, (2, 1, classifier.size, classifier.size), dtype=torch.uint8)
            classifier(picture)
    finally:
        for hook in hooks:
            hook.remove()
    averaged = maps[0].mean(dim=(2, 3)) if maps and maps[0].ndim == 4 else None
    same = averaged is not None and averaged.shape == features[0].shape
    return layer if same and averaged is not None and torch.allclose(averaged, features[0], atol=1e-4) else None
