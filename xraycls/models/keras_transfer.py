"""Between Keras files of TAO and networks here: which layer is which, in which layout, and how narrow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from xraycls.errors import WeightsError
from xraycls.models.keras_file import SCALE, KerasFile, KerasLayer
from xraycls.models.pruning_plan import apply_plan, is_depthwise, plan_between

_NORMALIZATION = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


@dataclass(frozen=True, slots=True)
class KerasReport:
    """What came of a file.

    Attributes:
        loaded: layers of the network that have weights of the file.
        lacking: layers of the network that the file has nothing for; they stay as they were.
        unused: layers with weights in the file that the network has no place for.
        narrowed: layers that are narrower than the network was built, since the file is of a pruned one.
    """

    loaded: int
    lacking: tuple[str, ...]
    unused: tuple[str, ...]
    narrowed: int

    def lines(self, file: KerasFile) -> list[str]:
        """Sentences for the log."""
        lines = [f"{self.loaded} layers take their weights from {file.path}."]
        if file.is_quantized:
            lines.append("It was trained for quantisation (enable_qat): its scales are left out.")
        if self.narrowed:
            lines.append(f"It is a pruned model: {self.narrowed} layers are narrower.")
        if self.lacking:
            lines.append(f"{len(self.lacking)} layers stay as they were, the first being {self.lacking[0]}.")
        if self.unused:
            lines.append(f"{len(self.unused)} layers of the file have no place here, the first being {self.unused[0]}.")
        return lines


def load_keras(net: nn.Module, file: KerasFile, names: Mapping[str, str], example: Tensor | None = None) -> KerasReport:
    """Copy the weights of a Keras file into a network, in place; one that was pruned makes the network narrower.

    Batch normalisations that aren't named are matched by the convolution that they follow, here and in the file.

    Args:
        net: as wide as before pruning.
        file: of TAO.
        names: Keras' name of each layer with weights → its path in ``net``.
        example: an input that ``net`` takes, to see which normalisation follows which convolution; None where ``names``
            has them all.

    Raises:
        WeightsError: nothing of the file fits, or its shapes are of another network.
    """
    places = {name: path for name, path in names.items() if name in file.layers and file.layers[name].weights}
    if example is not None:
        follows, norms = normalizations_after(net, example), file.normalizations()
        for name, path in list(places.items()):
            if path in follows and name in norms:
                places[norms[name]] = follows[path]
    tensors = tensors_of(net, file, places)
    if not tensors:
        have = [layer.name for layer in file.layers.values() if layer.weights]
        raise WeightsError(
            f"No layer of {file.path} has a name of this network: it has {', '.join(have[:3])} …, the network "
            f"{', '.join(list(names)[:3])} …",
            "Give the spec of the network that the file is of",
        )
    plan = plan_between(net, tensors)
    own = net.state_dict()
    try:
        apply_plan(net, plan)
        net.load_state_dict(tensors, strict=False)
    except (ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{file.path} is of another network than the spec describes: {_first_difference(own, tensors)}",
            "Give the spec of the network that the file is of",
        ) from error
    loaded = set(places.values())
    every = [name for name, module in net.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear, _BatchNorm))]
    return KerasReport(
        loaded=len(loaded),
        lacking=tuple(name for name in every if name not in loaded),
        unused=tuple(
            layer.name
            for layer in file.layers.values()
            if layer.weights and layer.name not in places and SCALE not in layer.weights
        ),
        narrowed=len(plan.layers),
    )


def tensors_of(net: nn.Module, file: KerasFile, places: Mapping[str, str]) -> dict[str, Tensor]:
    """Returns the weights of a file by the names of a network's state dict.

    Args:
        net: the network; its own weights aren't looked at.
        file: of TAO.
        places: path in ``net`` by Keras' name of a layer; names that the file lacks are passed over.
    """
    tensors: dict[str, Tensor] = {}
    for name, path in places.items():
        if name in file.layers and file.layers[name].weights:
            tensors |= _tensors(net.get_submodule(path), path, file.layers[name])
    return tensors


def normalizations_after(net: nn.Module, example: Tensor) -> dict[str, str]:
    """The batch normalisation that takes the output of each convolution or dense layer, by their paths.

    Args:
        net: run once, in evaluation mode and without gradients.
        example: an input that it takes.
    """
    makers: dict[int, str] = {}
    kept: list[Tensor] = []  # so that no later tensor takes the identity of one that is gone
    found: dict[str, str] = {}

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, _BatchNorm):
                if id(inputs[0]) in makers:
                    found[makers[id(inputs[0])]] = name
            else:
                makers[id(output)] = name
                kept.append(output)

        return module.register_forward_hook(look)

    watched = [(n, m) for n, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear, _BatchNorm))]
    handles = [watch(name, module) for name, module in watched]
    was_training = net.training
    try:
        with torch.no_grad():
            net.eval()(example)
    finally:
        net.train(was_training)
        for handle in handles:
            handle.remove()
    return found


def _tensors(module: nn.Module, path: str, layer: KerasLayer) -> dict[str, Tensor]:
    """A layer's weights in torch's layouts, by the names of the state dict."""
    if isinstance(module, _BatchNorm):
        found = {ours: layer.weights[theirs] for theirs, ours in _NORMALIZATION.items() if theirs in layer.weights}
    else:
        found = {"weight": kernel_to_torch(module, layer)}
        if "bias" in layer.weights and getattr(module, "bias", None) is not None:
            found["bias"] = layer.weights["bias"]
    return {f"{path}.{name}": torch.from_numpy(np.ascontiguousarray(array)) for name, array in found.items()}


def kernel_to_torch(module: nn.Module, layer: KerasLayer) -> npt.NDArray[np.float32]:
    """A Keras kernel [kh, kw, in, out] as torch's [out, in, kh, kw]; dense [in, out] as [out, in].

    A transposed convolution of 2 × 2 and stride 2, [2, 2, out, in], becomes the 1 × 1 convolution to four times the
    channels that it is here (:class:`xraycls.models.detection.dssd.Doubling`).
    """
    if "depthwise_kernel" in layer.weights:
        return layer.weights["depthwise_kernel"].transpose(2, 3, 0, 1)
    kernel = layer.weights["kernel"]
    if isinstance(module, nn.Linear):
        return kernel.T
    if (
        kernel.ndim == 4
        and isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and kernel.shape[:2] == (2, 2)
    ):
        height, width, outputs, inputs = kernel.shape
        return kernel.transpose(2, 0, 1, 3).reshape(outputs * height * width, inputs, 1, 1)
    return kernel.transpose(3, 2, 0, 1)


def keras_weights(layer: nn.Module, *, is_doubling: bool = False) -> dict[str, npt.NDArray[np.float32]]:
    """Returns the weights of a layer by Keras' kinds and in its layouts: what :func:`load_keras` reads.

    Args:
        layer: a convolution, a linear layer or a batch normalisation.
        is_doubling: whether a 1 x 1 convolution stands for a transposed one of 2 x 2, see :func:`kernel_to_torch`.
    """
    if isinstance(layer, _BatchNorm):
        return {theirs: _numbers(getattr(layer, ours)) for theirs, ours in _NORMALIZATION.items()}
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        raise TypeError(f"{type(layer).__name__} has no weights in Keras' layouts")
    weight = _numbers(layer.weight)
    if isinstance(layer, nn.Linear):
        weights = {"kernel": weight.T}
    elif is_doubling:
        outputs, inputs = len(weight) // 4, weight.shape[1]
        weights = {"kernel": weight.reshape(outputs, 2, 2, inputs).transpose(1, 2, 0, 3)}
    elif is_depthwise(layer):
        weights = {"depthwise_kernel": weight.transpose(2, 3, 0, 1)}
    else:
        weights = {"kernel": weight.transpose(2, 3, 1, 0)}
    return weights if layer.bias is None else {**weights, "bias": _numbers(layer.bias)}


def _numbers(tensor: Tensor) -> npt.NDArray[np.float32]:
    return tensor.detach().cpu().float().numpy()


def _first_difference(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    for name, tensor in tensors.items():
        if name in own and any(a > b for a, b in zip(tensor.shape, own[name].shape, strict=False)):
            return f"{name} has the shape {list(tensor.shape)} there and {list(own[name].shape)} here"
    return "their layers don't fit together"
