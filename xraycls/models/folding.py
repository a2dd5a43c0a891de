"""Fewer steps for a network that learns no more: batch normalisation becomes part of the convolution before it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from xraycls.models.quantization import output_quantizer, round_output_of


def fold_batch_norms(net: nn.Module, run: Callable[[], object]) -> None:
    """Put batch normalisation into the convolutions before it, in place.

    Args:
        net: in evaluation mode.
        run: computes ``net``, once or several times, which shows what stands behind what.
    """
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # by the output, which is kept so that its number stays its own
    pairs: dict[str, tuple[nn.Conv2d, nn.BatchNorm2d]] = {}  # by the path of the latter

    def note(module: nn.Module, _inputs: object, output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        made[id(output)] = module, output

    hooks = [m.register_forward_hook(note) for m in net.modules() if isinstance(m, nn.Conv2d)]
    for name, module in net.named_modules():
        if type(module) is nn.BatchNorm2d:  # a subclass may do more

            def look(norm: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                assert isinstance(norm, nn.BatchNorm2d)
                if id(inputs[0]) in made:
                    pairs[name] = made[id(inputs[0])][0], norm

            hooks.append(module.register_forward_pre_hook(look))
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    for name, (convolution, norm) in pairs.items():
        fused = fuse_conv_bn_eval(convolution, norm)
        convolution.weight, convolution.bias = fused.weight, fused.bias
        parent, _, child = name.rpartition(".")
        folded = nn.Identity()
        if quantizer := output_quantizer(norm):
            round_output_of(folded, quantizer)
        setattr(net.get_submodule(parent), child, folded)
