"""What TAO calls the convolutions of its detectors, for flags that name layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_Rule = tuple[str, Callable[..., str]]
"""The path of a module here as a regular expression, and TAO's name of what its groups matched."""

_FIRST_OF_MOBILENET = {"0": 1, "1": 2, "2": 4, "3": 6}  # TAO numbers the blocks of all stages in one row
_FIRES = dict(zip("3 4 5 7 8 9 10 12".split(), range(2, 10), strict=True))
_BRANCHES = {
    "branch1": "1x1",
    "branch2.0": "3x3_reduce",
    "branch2.1": "3x3",
    "branch3.0": "5x5_reduce",
    "branch3.1": "5x5",
    "branch4.1": "pool_proj",
}
_INVERTED = {"conv.0.0": "expand", "conv.1.0": "depthwise", "conv.2": "project", "projection": "projected_inputs"}
_UNEXPANDED = {"conv.0.0": "depthwise", "conv.1": "project"}
_MBCONV = {"0.0": "expand_conv", "1.0": "dwconv", "2.fc1": "se_reduce", "2.fc2": "se_expand", "3.0": "project_conv"}
_MBCONV_1 = {"0.0": "dwconv", "1.fc1": "se_reduce", "1.fc2": "se_expand", "2.0": "project_conv"}


def _letter(number: str) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[int(number)]


def _efficient(stage: str, block: str, part: str) -> str:
    return f"block{stage}{_letter(block)}_{(_MBCONV_1 if stage == '1' else _MBCONV)[part]}"


_EFFICIENTNET: tuple[_Rule, ...] = (
    (r"network\.0\.0", lambda: "stem_conv"),
    (r"network\.([1-7])\.(\d)\.block\.(\d\.\w+)", _efficient),
    (r"network\.8\.0", lambda: "top_conv"),
)
_BACKBONES: dict[str, tuple[_Rule, ...]] = {
    "resnet": (
        (r"conv1", lambda: "conv1"),
        (r"layer(\d)\.(\d+)\.conv(\d)", lambda stage, block, n: f"block_{stage}{_letter(block)}_conv_{n}"),
        (r"layer(\d)\.(\d+)\.downsample\.0", lambda stage, block: f"block_{stage}{_letter(block)}_conv_shortcut"),
    ),
    "vgg": ((r"block(\d)\.(\d)\.0", lambda block, n: f"block_{block}{_letter(n)}_conv_1"),),
    "darknet": (
        (r"stage0\.0\.0|stem\.conv1\.conv", lambda: "conv1"),
        (r"stage(\d)\.(\d)\.0", lambda stage, n: f"b{stage}_conv{n}"),
        (r"stages_(\d)\.conv_down\.conv", lambda stage: f"conv{int(stage) + 2}"),
        (
            r"stages_(\d)\.blocks\.(\d)\.conv(\d)\.conv",
            lambda stage, block, n: f"b{int(stage) + 1}_conv{int(block) + 1}_{n}",
        ),
    ),
    "mobilenet_v1": (
        (r"conv_stem", lambda: "conv1"),
        (
            r"blocks_(\d)\.(\d)\.(conv_dw|conv_pw)",
            lambda stage, block, kind: f"{kind}_{_FIRST_OF_MOBILENET[stage] + int(block)}",
        ),
    ),
    "mobilenet_v2": (
        (r"network\.0\.0", lambda: "conv1"),
        (r"network\.1\.(conv\.\S+)", lambda part: f"block_0_{_UNEXPANDED[part]}"),
        (r"network\.(\d+)\.(conv\.\S+|projection)", lambda block, part: f"block_{int(block) - 1}_{_INVERTED[part]}"),
    ),
    "squeezenet": (
        (r"network\.0", lambda: "conv1"),
        (r"network\.(\d+)\.squeeze", lambda fire: f"fire{_FIRES[fire]}_squeeze_conv"),
        (r"network\.(\d+)\.expand(\dx\d)", lambda fire, kernel: f"fire{_FIRES[fire]}_expand_conv{kernel}"),
    ),
    "googlenet": (
        (r"conv1\.conv", lambda: "conv1"),
        (r"conv2\.conv", lambda: "conv2_reduce"),
        (r"conv3\.conv", lambda: "conv2"),
        (r"inception(\d\w)\.(branch\S+)\.conv", lambda block, branch: f"inception_{block}_{_BRANCHES[branch]}"),
    ),
    "efficientnet_b0": _EFFICIENTNET,
    "efficientnet_b1": _EFFICIENTNET,
}
_TOP: tuple[_Rule, ...] = (
    (r"extras\.(ssd_expand_block_\d)\.([02])", lambda block, index: f"{block}_conv_{int(index) // 2}"),
    (r"deconvolutions\.(ssd_shrink_block_0)", str),
    (r"deconvolutions\.blocks\.(\d)\.fine\.0\.0", lambda block: f"dssd_large_conv_0_block_{block}"),
    (r"deconvolutions\.blocks\.(\d)\.fine\.1", lambda block: f"dssd_large_conv_1_block_{block}"),
    (r"deconvolutions\.blocks\.(\d)\.coarse\.0\.corners", lambda block: f"dssd_small_deconv_block_{block}"),
    (r"deconvolutions\.blocks\.(\d)\.coarse\.1", lambda block: f"dssd_small_conv_block_{block}"),
    (r"predictions\.blocks\.(\d)\.residual\.([012])(?:\.0)?", lambda block, n: f"ssd_mpred_conv_{n}_block_{block}"),
    (r"predictions\.blocks\.(\d)\.skip\.0", lambda block: f"ssd_mpred_conv_3_block_{block}"),
    (r"heads\.(ssd_(?:conf|loc)_\d)", str),
)


def convolution_names(paths: Iterable[str], arch: str) -> dict[str, str]:
    """TAO's name → module path, of each convolution of an SSD or DSSD.

    Args:
        paths: of the convolutions in :class:`xraycls.models.detection.ssd.SSD`.
        arch: the backbone, with or without its number of layers. TAO builds no SSD on efficientnet_b1; its names
            are those of TAO's classifier.
    """
    arch = arch if arch in _BACKBONES else arch.rstrip("0123456789")
    rules = [*((rf"backbone\.(?:{path})", name) for path, name in _BACKBONES[arch]), *_TOP]
    names = {_first(rules, path): path for path in paths}
    return {name: path for name, path in names.items() if name}


def _first(rules: Iterable[_Rule], path: str) -> str:
    """What the first rule says that a path matches; empty when there is none."""
    return next((name(*found.groups()) for rule, name in rules if (found := re.fullmatch(rule, path))), "")
