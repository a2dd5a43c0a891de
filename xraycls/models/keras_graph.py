"""A torch network as the graph of Keras layers that computes the same, found by watching one forward pass.

The result is data: names, settings and weights of layers. No Keras is needed to make it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from xraycls.errors import UsageError
from xraycls.models.keras_file import KerasLayer
from xraycls.models.keras_transfer import keras_weights

CHANNELS_FIRST: dict[str, Any] = {"data_format": "channels_first"}
_GLOROT = {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": None}
_KERNEL = {"class_name": "VarianceScaling", "config": _GLOROT}
_ZEROS, _ONES = {"class_name": "Zeros", "config": {}}, {"class_name": "Ones", "config": {}}
_ACTIVATIONS = {"relu": "relu", "silu": "swish", "mish": "mish", "sigmoid": "sigmoid"}
_SHORT = {"LeakyReLU": "lrelu"}
_OWN_RELU = "ssd_expand_"  # TAO's names of layers that a ReLU follows as a class of its own


@dataclass
class KerasGraph:
    """Layers of a Keras model by name, in the order in which they were made."""

    layers: dict[str, KerasLayer] = field(default_factory=dict)
    _numbered: set[str] = field(default_factory=set)

    def add(
        self,
        kind: str,
        inputs: Sequence[str] = (),
        name: str = "",
        weights: Mapping[str, npt.NDArray[np.float32]] | None = None,
        **config: Any,
    ) -> str:
        """Add a layer and return its name: the one given, or as Keras numbers layers without names.

        Args:
            kind: Keras' class.
            inputs: names of the layers whose outputs it takes.
            name: "" for a number of its kind; :meth:`ordered` counts anew what an output depends on.
            weights: by kind, in Keras' layouts.
            config: its settings, without name.
        """
        if not name or name in self.layers:
            name = _number(kind, Counter({_spaced(kind): len(self._numbered)}))
            self._numbered.add(name)
        self.layers[name] = KerasLayer(name, kind, weights or {}, tuple(inputs), config)
        return name

    def configure(self, name: str, **config: Any) -> None:
        """Change settings of a layer."""
        self.layers[name] = replace(self.layers[name], config={**self.layers[name].config, **config})

    def connect(self, name: str, inputs: Sequence[str]) -> None:
        """Let a layer take the outputs of others than before."""
        self.layers[name] = replace(self.layers[name], inputs=tuple(inputs))

    def fold(self, name: str) -> None:
        """Take out a layer of one input: whoever took its output takes its input."""
        source = self.layers.pop(name).inputs[0]
        for key, layer in self.layers.items():
            if name in layer.inputs:
                inputs = tuple(source if each == name else each for each in layer.inputs)
                self.layers[key] = replace(layer, inputs=inputs)

    def rename(self, names: Mapping[str, str]) -> None:
        """Give layers other names, by the old ones."""
        self._numbered -= names.keys()
        self.layers = {
            names.get(name, name): replace(
                layer, name=names.get(name, name), inputs=tuple(names.get(each, each) for each in layer.inputs)
            )
            for name, layer in self.layers.items()
        }

    def ordered(self, outputs: Sequence[str]) -> list[KerasLayer]:
        """Returns the layers that the outputs depend on, as Keras orders a model's layers.

        Keras goes by the longest way from a layer to an output, and of layers as far away by which is met first on the
        way from the outputs to the inputs.
        """
        met: dict[str, int] = {}
        finished: list[str] = []
        for output in outputs:
            stack: list[tuple[str, Iterator[str]]] = []
            _meet(output, self, met, stack)
            while stack:
                name, inputs = stack[-1]
                if (each := next(inputs, None)) is None:
                    finished.append(stack.pop()[0])
                else:
                    _meet(each, self, met, stack)
        depth = dict.fromkeys(met, 0)
        for name in reversed(finished):
            for each in self.layers[name].inputs:
                depth[each] = max(depth[each], depth[name] + 1)
        found = sorted(met, key=lambda name: (-depth[name], met[name]))
        numbers: Counter[str] = Counter()
        anew = {n: _number(each.kind, numbers) for n, each in self.layers.items() if n in self._numbered and n in met}
        self.rename(anew)
        return [self.layers[anew.get(name, name)] for name in found]


def _spaced(kind: str) -> str:
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z0-9]+)", r"\1_\2", kind)).lower()


def _number(kind: str, numbers: Counter[str]) -> str:
    """The next name that Keras gives a layer of a kind without one."""
    numbers[_spaced(kind)] += 1
    return f"{_spaced(kind)}_{numbers[_spaced(kind)]}"


def _meet(name: str, graph: KerasGraph, met: dict[str, int], stack: list[tuple[str, Iterator[str]]]) -> None:
    if name not in met:
        met[name] = len(met)
        stack.append((name, iter(graph.layers[name].inputs)))


def trace(net: nn.Module, example: Tensor, names: Mapping[str, str], source: str) -> KerasGraph:
    """Returns the graph of a network's layers.

    A bilinear resizing stands for the crops of a second stage: it becomes the layer ``CropAndResize``, and what follows
    it is distributed over the regions.

    Args:
        net: in evaluation mode; run once.
        example: an input [1, C, H, W].
        names: of Keras' layers by the path of each module with weights.
        source: name of the input layer.

    Raises:
        UsageError: the network calls an operator that has no Keras layer here.
    """
    graph = KerasGraph()
    graph.add("InputLayer", name=source, batch_input_shape=[None, *example.shape[1:]], dtype="float32", sparse=False)
    modules = {
        id(module.weight): (names.get(path, path.replace(".", "_")), module)
        for path, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear | _BatchNorm)
    }
    recorder = _Recorder(graph, modules)
    recorder.hold(example, source)
    with torch.no_grad(), recorder:
        net(example)
    return graph


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Turns every operator that a network calls into a layer of the graph."""

    def __init__(self, graph: KerasGraph, modules: Mapping[int, tuple[str, nn.Module]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph, self.modules = graph, dict(modules)
        self._made: dict[int, str] = {}
        self._padded: dict[int, tuple[str, list[int]]] = {}
        self._kept: list[Tensor] = []  # so that no later tensor takes the identity of one that is gone
        self._distributed: set[str] = set()
        self._operators: dict[str, Callable[..., str]] = {
            "convolution": self._convolution,
            "native_batch_norm": self._normalization,
            "addmm": self._dense,
            "leaky_relu": self._leaky,
            "hardtanh": lambda result, x, low, high: self._activation(result, x, "ReLU", **_relu(float(high))),
            "max_pool2d_with_indices": self._pool,
            "mean": self._mean,
            "add": lambda result, a, b: self._layer("Add", (a, b)),
            "mul": lambda result, a, b: self._layer("Multiply", (a, b)),
            "cat": lambda result, parts, axis=0: self._layer("Concatenate", parts, axis=axis),
            "upsample_nearest2d": self._enlarged,
            "upsample_bilinear2d": self._crops,
        }

    def hold(self, tensor: Tensor, name: str) -> None:
        """Note which layer made a tensor."""
        self._made[id(tensor)] = name
        self._kept.append(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the operator and note what it was."""
        result = func(*args, **(kwargs or {}))
        kind = str(func.overloadpacket).removeprefix("aten.").removesuffix("_")
        first = result[0] if isinstance(result, tuple | list) else result
        if kind == "t":
            self.modules[id(first)] = self.modules[id(args[0])]
            self._kept.append(first)
            return result
        given = args[0] if kind == "cat" else [each for each in args if isinstance(each, Tensor)]
        if not any(id(each) in self._made or id(each) in self._padded for each in given):
            return result
        if kind == "constant_pad_nd":
            self._padded[id(result)] = (self._made[id(args[0])], args[1])
            self._kept.append(result)
        elif kind == "split":
            for number, part in enumerate(result):
                self.hold(part, self._layer("Split", (args[0],), groups=len(result), group_id=number))
        elif kind in ("permute", "clone", "view", "_unsafe_view"):  # the same map, laid out otherwise
            flat = kind == "view" and result.ndim == 2 and args[0].ndim == 4
            self.hold(result, self._flat(args[0]) if flat else self._made[id(args[0])])
        elif kind in _ACTIVATIONS:
            self.hold(first, self._activation(first, args[0], "Activation", activation=_ACTIVATIONS[kind]))
        elif kind in self._operators:
            self.hold(first, self._operators[kind](first, *args, **(kwargs or {})))
        else:
            raise UsageError(
                f"The network can't be written for TAO: its operator {func} has no layer of Keras here",
                "Keep its weights as .safetensors, or export the model to ONNX with xraycls export",
            )
        return result

    def _layer(self, kind: str, inputs: Sequence[Tensor], name: str = "", weights: Any = None, **config: Any) -> str:
        """Add a layer; with weights, or of a pool, behind the crops, it is wrapped to take one region at a time."""
        sources = [self._source(each) for each in inputs]
        if not self._distributed.intersection(sources):
            return self.graph.add(kind, sources, name, weights, **config)
        if weights or "Pooling" in kind or kind == "Flatten":
            outer = f"{name}_td" if name.startswith("dense_") else "time_distributed_flatten" * (kind == "Flatten")
            inner = {"class_name": kind, "config": {"name": name or kind.lower(), "trainable": True, **config}}
            made = self.graph.add("TimeDistributed", sources, outer, weights, layer=inner)
        else:
            made = self.graph.add(kind, sources, name, weights, **config)
        self._distributed.add(made)
        return made

    def _source(self, tensor: Tensor) -> str:
        """The layer that made a tensor; zeros around it are a layer of their own."""
        if id(tensor) not in self._padded:
            return self._made[id(tensor)]
        name, (left, right, top, bottom) = self._padded[id(tensor)]
        return self.graph.add("ZeroPadding2D", [name], padding=[[top, bottom], [left, right]], **CHANNELS_FIRST)

    def _convolution(
        self,
        result: Tensor,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
        transposed: bool,
        output_padding: list[int],
        groups: int,
    ) -> str:
        name, module = self.modules[id(weight)]
        kernel, weights = list(weight.shape[2:]), keras_weights(module, is_doubling="deconv" in name)
        if x.shape[-1] == 1:  # strides across one column make no difference
            stride = [max(stride)] * 2
        same = padding == [side // 2 for side in kernel]
        if not same and any(padding):
            pads = [padding[1], padding[1], padding[0], padding[0]]
            self._padded[id(x)] = (self._made[id(x)], pads)
        config = {
            "kernel_size": kernel,
            "strides": list(stride),
            "padding": "same" if same and id(x) not in self._padded else "valid",
            **CHANNELS_FIRST,
            "dilation_rate": list(dilation),
            "activation": "linear",
            "use_bias": bias is not None,
            **_initialised("bias", _ZEROS),
            "activity_regularizer": None,
        }
        if "depthwise_kernel" in weights:
            own = {"depth_multiplier": 1, **_initialised("depthwise", _KERNEL)}
            return self._layer("DepthwiseConv2D", (x,), name, weights, **config, **own)
        own = {"filters": weight.shape[0], **_initialised("kernel", _KERNEL)}
        if "deconv" in name:
            config |= {"kernel_size": [2, 2], "strides": [2, 2], "padding": "same", "output_padding": None}
            own["filters"] //= 4
            return self._layer("Conv2DTranspose", (x,), name, weights, **config, **own)
        return self._layer("Conv2D", (x,), name, weights, **config, **own)

    def _normalization(
        self,
        result: Tensor,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        training: bool,
        momentum: float,
        epsilon: float,
    ) -> str:
        name, module = self.modules[id(weight)]
        config: dict[str, Any] = {
            "axis": 1,
            "momentum": round(1.0 - momentum, 6),
            "epsilon": epsilon,
            "center": True,
            "scale": True,
        }
        for kind, value in (("beta", _ZEROS), ("gamma", _ONES)):
            config |= _initialised(kind, value)
        config |= {"moving_mean_initializer": _ZEROS, "moving_variance_initializer": _ONES}
        return self._layer("BatchNormalization", (x,), name, keras_weights(module), **config)

    def _dense(self, result: Tensor, bias: Tensor, x: Tensor, weight: Tensor) -> str:
        name, module = self.modules[id(weight)]
        config = {"units": weight.shape[1], "activation": "linear", "use_bias": True, "activity_regularizer": None}
        config |= _initialised("kernel", _KERNEL) | _initialised("bias", _ZEROS)
        return self._layer("Dense", (x,), name, keras_weights(module), **config)

    def _leaky(self, result: Tensor, x: Tensor, slope: float) -> str:
        return self._activation(result, x, "LeakyReLU", alpha=float(np.float32(slope)))

    def _activation(self, result: Tensor, x: Tensor, kind: str, **config: Any) -> str:
        """Add an activation, named after the layer before it as TAO does where it gives names."""
        source = self._made[id(x)]
        before = self.graph.layers[source]
        if before.kind == "TimeDistributed":
            source = before.config["layer"]["config"]["name"]
        elif before.kind == "Add":
            source = re.sub(r"_\d$", "", before.inputs[0])
            if (first := self.graph.layers[before.inputs[0]]).kind == "TimeDistributed":
                source = re.sub(r"_\d$", "", first.config["layer"]["config"]["name"])
        short = _SHORT.get(kind, "relu" if kind == "ReLU" else config.get("activation", ""))
        if source.startswith(_OWN_RELU) and config.get("activation") == "relu":
            kind, config = "ReLU", _relu(None)
            source = source.replace("_conv_", "_bn_")
        name = re.sub(r"_bn(_\d)?$", rf"_{short}\1", source)
        return self._layer(kind, (x,), name if name != source else "", **config)

    def _pool(
        self,
        result: Tensor,
        x: Tensor,
        kernel: list[int],
        stride: list[int] | None = None,
        padding: Sequence[int] = (0, 0),
        dilation: Sequence[int] = (1, 1),
        ceil_mode: bool = False,
    ) -> str:
        """Add a max pool; TAO's pad zeros, and one of 5 over one of 5 is one of 9."""
        size, source = kernel[0], x
        pads = self._padded.get(id(x))
        same = 0 < padding[0] == (size - 1) // 2
        if pads and pads[1] == [(size - 1) // 2] * 4:
            same = True
            before = self.graph.layers[pads[0]]
            if before.kind == "MaxPooling2D" and before.config["strides"] == [1, 1]:
                size += before.config["pool_size"][0] - 1
                pads = (before.inputs[0], pads[1])
            del self._padded[id(x)]
            self._made[id(source)] = pads[0]
        step = list(stride or kernel)
        mode = "same" if same else "valid"
        return self._layer("MaxPooling2D", (x,), pool_size=[size, size], padding=mode, strides=step, **CHANNELS_FIRST)

    def _mean(self, result: Tensor, x: Tensor, axes: list[int], keepdim: bool = False) -> str:
        size = list(x.shape[2:])
        if self._distributed.intersection([self._made[id(x)]]):
            config = {"pool_size": size, "padding": "valid", "strides": size}
            return self._layer("AveragePooling2D", (x,), "avg_pool", **config, **CHANNELS_FIRST)
        pooled = self._layer("GlobalAveragePooling2D", (x,), **CHANNELS_FIRST)
        return self.graph.add("Reshape", [pooled], target_shape=[x.shape[1], 1, 1])

    def _enlarged(self, result: Tensor, x: Tensor, *_: Any) -> str:
        number = sum(layer.kind == "UpSampling2D" for layer in self.graph.layers.values())
        config = {"size": [2, 2], **CHANNELS_FIRST, "interpolation": "nearest"}
        return self._layer("UpSampling2D", (x,), f"upsample{number}", **config)

    def _crops(self, result: Tensor, x: Tensor, size: list[int], *_: Any) -> str:
        made = self._layer("CropAndResize", (x,), pool_size=size[0])
        self._distributed.add(made)
        return made

    def _flat(self, x: Tensor) -> str:
        return self._layer("Flatten", (x,), **CHANNELS_FIRST)


def _relu(most: float | None) -> dict[str, Any]:
    return {"max_value": most, "negative_slope": 0.0, "threshold": 0.0}


def _initialised(kind: str, initializer: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{kind}_initializer": initializer, f"{kind}_regularizer": None, f"{kind}_constraint": None}
