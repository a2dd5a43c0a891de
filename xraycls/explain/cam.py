"""Class activation maps by every method of pytorch-grad-cam, for every classifier."""

from __future__ import annotations

import contextlib
import copy
import io
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from xraycls.errors import UsageError, unknown
from xraycls.explain.layers import MapLayer, find_layer, prefix_tokens
from xraycls.models.build import under
from xraycls.models.classifier import Classifier

METHODS: dict[str, str] = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "xgradcam": "XGradCAM",
    "hirescam": "HiResCAM",
    "gradcamelementwise": "GradCAMElementWise",
    "layercam": "LayerCAM",
    "fullgrad": "FullGrad",
    "finercam": "FinerCAM",
    "shapleycam": "ShapleyCAM",
    "eigencam": "EigenCAM",
    "eigengradcam": "EigenGradCAM",
    "segeigencam": "SegEigenCAM",
    "kpcacam": "KPCA_CAM",
    "fem": "FEM",
    "scorecam": "ScoreCAM",
    "ablationcam": "AblationCAM",
    "sess": "SESS",
    "randomcam": "RandomCAM",
}
"""Names of the methods and their classes in pytorch-grad-cam.

RefineCAM is left out: it multiplies the maps of several layers, and with one layer it is gradcam++.
"""


@dataclass(frozen=True)
class CamResult:
    """Class activation maps of a batch.

    Attributes:
        maps: float32 [B, S, S] at the network's input size; 1 where most speaks for the class, 0 where nothing does.
        classes: int64 [B], the class that each map explains.
        probabilities: float64 [B, C], of the classes or findings.
        layer: module path of the layer whose output was weighed.
    """

    maps: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    layer: str


def class_activation_map(
    classifier: Classifier, images: torch.Tensor, *, method: str = "gradcam", target: int | str | None = None
) -> CamResult:
    """Where a classifier looks.

    The classifier is left as it is found: mode, gradients, frozen parts and hooks.

    Args:
        images: uint8 [B, 1, S, S] or [B, 3, S, S] on the classifier's device; S the classifier's own size.
        method: one of :data:`METHODS`, in any case; "gradcam" is Selvaraju et al., ICCV 2017. scorecam, ablationcam
            and sess run the network hundreds of times an image; randomcam weighs channels at random, for comparison.
        target: the class to explain, by index or name; None explains the most probable class of each image.

    Raises:
        UsageError: no such method or class, or the images are too small to leave a map.
    """
    method = method.lower()
    if method not in METHODS:
        raise unknown("CAM method", method, METHODS, "--method")
    index = _class_index(classifier.classes, target)
    # A caller may predict in inference mode, where no gradient can be had, not even from a tensor made there; and
    # shapleycam derives twice, which only the plain kernel of attention can.
    with torch.inference_mode(False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        net = _twin(classifier)
        inputs = classifier.prepare(images.clone()).detach()
        name = find_layer(net, inputs[:1], classifier.architecture.cam_layer, classifier.head)
        layer = MapLayer(net.get_submodule(name), prefix_tokens(net))
        net.set_submodule(name, layer)
        logits = net(inputs).detach().cpu().double()
        probabilities = classifier.probabilities(logits).numpy()
        classes = probabilities.argmax(1) if index is None else np.full(len(inputs), index)
        # One image at a time: scorecam holds a copy of the image for every channel of the layer.
        maps = [
            _explain(method, net, layer.maps, image[None], int(chosen))
            for image, chosen in zip(inputs.detach(), classes, strict=True)
        ]
    return CamResult(np.stack(maps), classes.astype(np.int64), probabilities, name)


def _class_index(classes: tuple[str, ...], target: int | str | None) -> int | None:
    if isinstance(target, str):
        if target not in classes:
            raise unknown("class", target, classes, "--target")
        return classes.index(target)
    if target is not None and not 0 <= target < len(classes):
        raise UsageError(f"There is no class {target}: the classifier has {len(classes)}, counted from 0")
    return target


def _twin(classifier: Classifier) -> nn.Module:
    """The network again, in evaluation mode, on the same memory but with parameters and modules of its own.

    The methods hook modules, swap them and clear gradients; nothing of that reaches the classifier. Operations in
    place are switched off, as they would change an activation after it was noted, and so are auxiliary heads, which
    never run here. The input asks for a gradient, so that activations have theirs; of the parameters only the
    head's do, from which shapleycam derives a second time.
    """
    net = classifier.net
    shared: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=under(name, (classifier.head,)))
        for name, parameter in net.named_parameters()
    }
    shared |= {id(buffer): buffer.detach() for buffer in net.buffers()}
    twin: Any = copy.deepcopy(net, shared).eval()
    twin.register_forward_pre_hook(lambda _, inputs: inputs[0].requires_grad_())
    for module in twin.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    if classifier.architecture.auxiliary_weight:
        for name in classifier.architecture.auxiliary:
            setattr(twin, name, None)
    return cast(nn.Module, twin)


def _explain(
    method: str, net: nn.Module, layer: nn.Module, image: torch.Tensor, chosen: int
) -> npt.NDArray[np.float32]:
    """The map of one image [1, 3, S, S]: float32 [S, S]."""
    import pytorch_grad_cam as library
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    kind = getattr(library, METHODS[method], None)
    if kind is None:
        raise UsageError(f"--method {method} needs a newer grad-cam", "Update it with: pip install -U grad-cam")
    targets = [] if method == "fullgrad" else [layer]  # fullgrad finds its layers itself
    options = {"ablation_layer": library.AblationLayer()} if method == "ablationcam" else {}  # else all calls share one
    # The library prints its remarks and draws progress bars.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        explainer = kind(net, targets, **options)
        try:
            if method == "finercam":  # given targets, it would skip the comparison with the next classes
                grey = explainer(image, target_idx=chosen)
            else:
                grey = explainer(image, [ClassifierOutputTarget(chosen)])
        finally:  # what it noted is dropped here, because its own clean-up fails on views
            notes = getattr(explainer, "base_cam", explainer).activations_and_grads
            notes.activations, notes.gradients = [], []
    found: npt.NDArray[np.float32] = np.nan_to_num(grey[0].astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    return found
