"""What TAO calls the layers of its SSD and DSSD, for flags that name layers and for files of weights."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

from xraycls.models.backbones import Backbone

_Rule = tuple[str, Callable[..., str]]
"""The path of a module here as a regular expression, and TAO's name of what its groups matched."""

_TOP: tuple[_Rule, ...] = (
    (r"extras\.(ssd_expand_block_\d)\.([02])", lambda block, index: f"{block}_conv_{int(index) // 2}"),
    (r"extras\.(ssd_expand_block_\d)\.3", lambda block: f"{block}_bn_1"),
    (r"deconvolutions\.(ssd_shrink_block_0)", str),
    (r"deconvolutions\.blocks\.(\d)\.fine\.0\.0", lambda block: f"dssd_large_conv_0_block_{block}"),
    (r"deconvolutions\.blocks\.(\d)\.fine\.0\.1", lambda block: f"dssd_large_bn_0_block_{block}"),
    (r"deconvolutions\.blocks\.(\d)\.fine\.1", lambda block: f"dssd_large_conv_1_block_{block}"),
    (r"deconvolutions\.blocks\.(\d)\.fine\.2", lambda block: f"dssd_large_bn_1_block_{block}"),
    (r"deconvolutions\.blocks\.(\d)\.coarse\.0\.corners", lambda block: f"dssd_small_deconv_block_{block}"),
    (r"deconvolutions\.blocks\.(\d)\.coarse\.1", lambda block: f"dssd_small_conv_block_{block}"),
    (r"deconvolutions\.blocks\.(\d)\.coarse\.2", lambda block: f"dssd_small_bn_block_{block}"),
    (r"predictions\.blocks\.(\d)\.residual\.([012])(?:\.0)?", lambda block, n: f"ssd_mpred_conv_{n}_block_{block}"),
    (r"predictions\.blocks\.(\d)\.residual\.([01])\.1", lambda block, n: f"ssd_mpred_bn_{n}_block_{block}"),
    (r"predictions\.blocks\.(\d)\.residual\.3", lambda block: f"ssd_mpred_bn_2_block_{block}"),
    (r"predictions\.blocks\.(\d)\.skip\.0", lambda block: f"ssd_mpred_conv_3_block_{block}"),
    (r"predictions\.blocks\.(\d)\.skip\.1", lambda block: f"ssd_mpred_bn_3_block_{block}"),
    (r"heads\.(ssd_(?:conf|loc)_\d|conv_(?:big|mid|sm)_object)", str),
    (r"(?:\w+\.)+((?:yolo|md|bg|expand)_\w+)\.0", str),
    (r"(?:\w+\.)+((?:yolo|md|bg|expand)_\w+)\.1", lambda name: f"{name}_bn"),
)


def layer_names(net: nn.Module) -> dict[str, str]:
    """Returns TAO's name → module path, of each convolution and batch normalisation of an SSD, a DSSD or a YOLOv4.

    Args:
        net: of a detector, pruned or not; its backbone knows the names of its own
            layers. TAO builds no SSD on efficientnet_b1; its names are those of TAO's classifier.
    """
    body = net.get_submodule("backbone")
    backbone = {f"backbone.{p}": name for p, name in body.layer_names.items()} if isinstance(body, Backbone) else {}
    layers = (path for path, module in net.named_modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d))
    names = {backbone.get(path) or _first(path): path for path in layers}
    return {name: path for name, path in names.items() if name}


def _first(path: str) -> str:
    """What the first rule says that a path matches; empty when there is none."""
    return next((name(*found.groups()) for rule, name in _TOP if (found := re.fullmatch(rule, path))), "")
