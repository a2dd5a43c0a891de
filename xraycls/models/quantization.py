"""Quantisation to 8 bits, simulated in floating point: symmetric ranges, a tensor's for activations, a channel's for
weights.

Training with it (QAT) and calibration after training (PTQ) see the rounding that an integer engine will do; an exporter
sees pairs of QuantizeLinear and DequantizeLinear (Jacob et al., CVPR 2018; Wu et al., arXiv 2004.09602).
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

LARGEST = 127
"""The largest integer: a range ends at this number of steps on both sides of zero."""

_SHARE = 0.01  # of a batch in the moving average of what was seen, as in torch.ao.quantization's observers
_LEAST = 1e-8  # of a range, so that a scale is never zero
_INPUT, _OUTPUT = "input_quantizer", "output_quantizer"
_ADDITIONS = frozenset(("add", "add_", "__add__", "__iadd__", "__radd__"))


def scale_of(limit: Tensor) -> Tensor:
    """Returns the step between two integers of a range that ends at ``limit``."""
    return limit.float().clamp_min(_LEAST) / LARGEST


def rounded(values: Tensor, scale: Tensor, axis: int | None = None) -> Tensor:
    """Returns values rounded to whole steps and cut to 8 bits; gradients pass within the range (straight-through).

    Args:
        values: any shape.
        scale: float32, a scalar, or one number for each index of ``axis``.
        axis: None for one scale.
    """
    if torch.onnx.is_in_onnx_export():
        zero = torch.zeros_like(scale, dtype=torch.int8)
        where: dict[str, Any] = {} if axis is None else {"axis": axis}
        symbolic = functools.partial(torch.onnx.ops.symbolic, attrs=where, shape=values.shape, version=19)
        whole = symbolic("QuantizeLinear", (values, scale, zero), dtype=torch.int8)
        steps: Tensor = symbolic("DequantizeLinear", (whole, scale, zero), dtype=torch.float32)
        return steps
    zero = torch.zeros(scale.shape, dtype=torch.int32, device=scale.device)
    if axis is None:
        found = torch.fake_quantize_per_tensor_affine(values.float(), scale, zero, -LARGEST - 1, LARGEST)
    else:
        found = torch.fake_quantize_per_channel_affine(values.float(), scale, zero, axis, -LARGEST, LARGEST)
    return found.to(values.dtype)


class FakeQuantizer(nn.Module):
    """Rounds what passes as an 8-bit integer would; in training its range follows what it sees.

    Attributes:
        limit: float32 scalar, the largest value that isn't cut; 0 before anything was seen.
        enabled: whether it rounds; else everything passes as it is.
    """

    limit: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("limit", torch.zeros(()))
        self.enabled = True

    def forward(self, values: Tensor) -> Tensor:
        """Returns the values, rounded."""
        if not self.enabled:
            return values
        if self.training:
            self._follow(values.detach())
        return rounded(values, scale_of(self.limit))

    def _follow(self, values: Tensor) -> None:
        seen = values.abs().amax().float()
        self.limit.copy_(torch.where(self.limit > 0, self.limit.lerp(seen, _SHARE), seen))


class _Quantized(nn.Module):
    """A layer whose weights are rounded, each output channel in its own range."""

    weight: Tensor
    weight_scale: Tensor | None

    def rounded_weight(self, weight: Tensor) -> Tensor:
        """Returns the weights [outputs, ...] as 8 bits hold them."""
        scale = getattr(self, "weight_scale", None)  # a constant while a graph is traced
        return rounded(weight, _scales(weight) if scale is None else scale, axis=0)


class _QuantizedConv2d(_Quantized, nn.Conv2d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002 (torch's name)
        convolved: Tensor = super()._conv_forward(input, self.rounded_weight(weight), bias)
        return convolved


class _QuantizedLinear(_Quantized, nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        return F.linear(input, self.rounded_weight(self.weight), self.bias)


def _quantized_kind(kind: Any) -> type[nn.Module] | None:
    """The class of a layer with rounded weights; None for a layer that computes in a way of its own."""
    pairs: tuple[tuple[Any, Any], ...] = ((nn.Conv2d, _QuantizedConv2d), (nn.Linear, _QuantizedLinear))
    for plain, quantized in pairs:
        if issubclass(kind, plain) and kind.forward is plain.forward and not issubclass(kind, _Quantized):
            found: type[nn.Module] = quantized if kind is plain else _joined(quantized, kind)
            return found
    return None


@functools.cache
def _joined(quantized: Any, kind: Any) -> type[nn.Module]:
    return type(f"Quantized{kind.__name__}", (quantized, kind), {})


@dataclass(frozen=True, slots=True)
class QuantizationPlan:
    """What of a network is quantised, by module paths.

    Attributes:
        layers: convolutions and linear layers with rounded weights.
        inputs: modules whose first input is rounded: the layers, or the blocks around them that get the same tensor.
        outputs: modules whose output is rounded: what a residual sum adds up.
    """

    layers: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.layers)

    def described(self) -> dict[str, tuple[str, ...]]:
        """The plan as values of JSON."""
        return asdict(self)

    @classmethod
    def parse(cls, values: Mapping[str, Iterable[str]]) -> QuantizationPlan:
        """The plan that JSON held; raises TypeError when it isn't one."""
        return cls(**{name: tuple(map(str, paths)) for name, paths in values.items()})


def plan_quantization(net: nn.Module, run: Callable[[], object]) -> QuantizationPlan:
    """Returns what of a network can be quantised, as an integer engine would compute it.

    Every convolution and linear layer gets a rounded input and rounded weights. A block that passes its own input on
    to a layer takes it rounded, so that a shortcut around the layer has the same values; and what normalisations and
    convolutions give to a residual sum is rounded, as in TAO. Outputs of the network stay as they are.

    Args:
        net: in evaluation mode, without quantisers.
        run: computes ``net`` once, which shows what goes where.

    Example:
        >>> import torch
        >>> from xraycls.models.quantization import plan_quantization, quantize
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Conv2d(2, 1, 3)).eval()
        >>> plan = plan_quantization(net, lambda: net(torch.zeros(1, 1, 8, 8)))
        >>> plan.layers, plan.outputs
        (('0', '2'), ())
        >>> quantize(net, plan)
        >>> sorted(name for name in net.state_dict() if "quantizer" in name)
        ['0.input_quantizer.limit', '2.input_quantizer.limit']
    """
    seen = _Dataflow(net)
    with torch.no_grad(), seen:
        run()
    layers = [path for path, module in net.named_modules() if seen.calls[path] and _quantized_kind(type(module))]
    inputs = dict.fromkeys(filter(None, map(seen.entrance, layers)))
    outputs = dict.fromkeys(path for key in seen.added if (path := seen.made.get(key)) and seen.calls[path] == 1)
    kinds = nn.Conv2d | nn.BatchNorm2d
    return QuantizationPlan(
        tuple(layers), tuple(inputs), tuple(p for p in outputs if isinstance(net.get_submodule(p), kinds))
    )


_Key = tuple[int, int]
"""A tensor in one of its versions, as operations in place change it."""


class _Dataflow(TorchFunctionMode):
    """Notes which modules take and give which tensors, and which tensors are added, while a network is computed."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.calls: Counter[str] = Counter()
        self.takers: dict[_Key, list[str]] = {}
        self.taken: dict[str, set[_Key]] = {}
        self.made: dict[_Key, str] = {}
        self.added: list[_Key] = []
        self._kept: list[Tensor] = []  # so that the number of a tensor isn't given to another one
        self._hooks: list[Any] = []

    def __enter__(self) -> Any:
        for path, module in self.net.named_modules():
            self._hooks.append(module.register_forward_pre_hook(functools.partial(self._take, path)))
            self._hooks.append(module.register_forward_hook(functools.partial(self._give, path)))
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        adds = getattr(func, "__name__", "") in _ADDITIONS and len(args) == 2 and all(map(_is_map, args))
        if adds and args[0].shape == args[1].shape:
            self.added += map(_key, args)
            self._kept += args
        return func(*args, **(kwargs or {}))

    def entrance(self, layer: str) -> str | None:
        """The outermost module around a layer that takes the same tensor as the layer, or the layer itself."""
        keys = self.taken.get(layer, set())
        if len(keys) != 1:
            return layer if keys else None
        for path in self.takers[next(iter(keys))]:
            inside = path == layer or layer.startswith(f"{path}.")
            if path and inside and self.calls[path] == 1 and not isinstance(self.net.get_submodule(path), _CONTAINERS):
                return path
        return layer

    def _take(self, path: str, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.calls[path] += 1
        if inputs and isinstance(inputs[0], Tensor):
            self.takers.setdefault(_key(inputs[0]), []).append(path)
            self.taken.setdefault(path, set()).add(_key(inputs[0]))
            self._kept.append(inputs[0])

    def _give(self, path: str, module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and next(module.children(), None) is None:
            self.made.setdefault(_key(output), path)  # what passes a tensor on, as Identity does, makes none
            self._kept.append(output)


_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)  # go through all of their children


def _key(tensor: Tensor) -> _Key:
    return id(tensor), tensor._version


def _is_map(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4


def quantize(net: nn.Module, plan: QuantizationPlan) -> None:
    """Let a network compute as the plan says, in place; names and shapes of its tensors stay, ranges are added.

    Args:
        net: as the plan was made for, pruned or not.
        plan: see :func:`plan_quantization`.

    Raises:
        ValueError: the plan is that of another network; nothing is changed then.
    """
    modules = dict(net.named_modules())
    if lacking := [path for path in (*plan.layers, *plan.inputs, *plan.outputs) if path not in modules]:
        raise ValueError(f"there is no layer {lacking[0]} that could be quantised")
    kinds = {path: _quantized_kind(type(modules[path])) for path in plan.layers}
    if unfit := [path for path, kind in kinds.items() if kind is None]:
        raise ValueError(f"{unfit[0]} is no layer that can be quantised")
    for path, kind in kinds.items():
        modules[path].__class__ = kind  # keeps its tensors, its name and who refers to it
    for path in plan.inputs:
        modules[path].add_module(_INPUT, FakeQuantizer().to(_device(net)))
        modules[path].register_forward_pre_hook(_round_input)
    for path in plan.outputs:
        round_output_of(modules[path], FakeQuantizer().to(_device(net)))
    net.train(net.training)


def round_output_of(module: nn.Module, quantizer: nn.Module) -> None:
    """Let what a module gives pass through a quantiser."""
    module.add_module(_OUTPUT, quantizer)
    module.register_forward_hook(_round_output)


def output_quantizer(module: nn.Module) -> nn.Module | None:
    """Returns what rounds the output of a module; None where nothing does."""
    return dict(module.named_children()).get(_OUTPUT)


def is_range(tensor: str) -> bool:
    """Whether a tensor of a state dict is the range of a quantiser, by its name."""
    return tensor.endswith((f"{_INPUT}.limit", f"{_OUTPUT}.limit"))


def _device(net: nn.Module) -> torch.device:
    return next(net.parameters()).device


def _round_input(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (module.get_submodule(_INPUT)(inputs[0]), *inputs[1:])


def _round_output(module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    rounded_output: Tensor = module.get_submodule(_OUTPUT)(output)
    return rounded_output


def plan_of(net: nn.Module) -> QuantizationPlan:
    """Returns what of a network is quantised; an empty plan when nothing is."""
    modules = dict(net.named_modules())
    having = {name: [p for p, m in modules.items() if name in m._modules] for name in (_INPUT, _OUTPUT)}
    layers = [path for path, module in modules.items() if isinstance(module, _Quantized)]
    return QuantizationPlan(tuple(layers), tuple(having[_INPUT]), tuple(having[_OUTPUT]))


def unquantized(net: nn.Module) -> list[str]:
    """Returns the paths of the layers with weights to multiply by that compute in floating point."""
    kinds = nn.modules.conv._ConvNd | nn.Linear | nn.MultiheadAttention
    return [p for p, module in net.named_modules() if isinstance(module, kinds) and not isinstance(module, _Quantized)]


def quantizers_of(net: nn.Module) -> dict[str, FakeQuantizer]:
    """Returns the quantisers of a network by path."""
    return {path: module for path, module in net.named_modules() if isinstance(module, FakeQuantizer)}


def remove_quantization(net: nn.Module) -> None:
    """Let a network compute in floating point again, in place."""
    for module in list[Any](net.modules()):
        if isinstance(module, _Quantized):
            plain: Any = next(each for each in type(module).__mro__ if not issubclass(each, _Quantized))
            module.__class__ = plain
        for name, hooks, hook in (
            (_INPUT, module._forward_pre_hooks, _round_input),
            (_OUTPUT, module._forward_hooks, _round_output),
        ):
            module._modules.pop(name, None)
            for number in [number for number, each in hooks.items() if each is hook]:
                del hooks[number]


def hold_weight_scales(net: nn.Module) -> None:
    """Keep the scales of all rounded weights as they are now, as constants of the graph that is traced next."""
    for module in net.modules():
        if isinstance(module, _Quantized):
            module.register_buffer("weight_scale", _scales(module.weight.detach()), persistent=False)


def _scales(weight: Tensor) -> Tensor:
    return scale_of(weight.detach().flatten(1).abs().amax(dim=1))
