"""Networks of timm as backbones: any of them that gives feature maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from xraycls.errors import UsageError

PREFIX = "timm:"
"""What the names of such backbones begin with: ``timm:efficientnet_b0``."""


class TimmBackbone(nn.Module):
    """A network of timm with random weights, up to the coarsest map that is wanted.

    Args:
        name: of the network, such as "resnet18", without the prefix.
        strides: of the maps to return, pixels of the input to a cell.
        channels: of the images, 3 or 1.

    Attributes:
        name: as given, with the prefix.
        channels: of the maps that :meth:`forward` returns.
        strides: of the same.
        blocks: none; timm's stages have no numbers of TAO.
        known_as: paths of modules by timm's names, so that its weights load.

    Raises:
        UsageError: timm has no such network, or it gives no feature maps, or none of such a stride.
    """

    def __init__(self, name: str, strides: Sequence[int], channels: int = 3) -> None:
        super().__init__()
        import timm

        if name not in timm.list_models():
            near = ", ".join(timm.list_models(f"*{name.partition('.')[0][:8]}*")[:5])
            raise UsageError(f"timm has no network {name}", f"Near it are {near}" if near else "See timm.list_models()")
        try:
            whole: Any = timm.create_model(name, pretrained=False, features_only=True, in_chans=channels)
            reductions = list(whole.feature_info.reduction())
            last = {stride: index for index, stride in enumerate(reductions) if stride in strides}
            wanted = tuple(sorted(last.values()))
            body: Any = timm.create_model(
                name, pretrained=False, features_only=True, in_chans=channels, out_indices=wanted or (0,)
            )
        except (AttributeError, AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise UsageError(
                f"timm:{name} gives no feature maps ({error})", "Take a convolutional network, such as timm:resnet18"
            ) from error
        if not wanted:
            raise UsageError(
                f"timm:{name} has no map of stride {', '.join(map(str, strides))}",
                f"It has the strides {', '.join(map(str, reductions))}",
            )
        self.name = PREFIX + name
        self.strides = tuple(int(reductions[index]) for index in wanted)
        self.channels = tuple(int(count) for count in body.feature_info.channels())
        self.blocks: Mapping[int, tuple[str, ...]] = {}
        self.known_as: Mapping[str, str] = {path: f"body.{path}" for path, _ in body.named_modules() if path}
        self.body = body

    def forward(self, images: Tensor) -> list[Tensor]:
        """Returns the maps [B, C, H / stride, W / stride] of images [B, channels, H, W], the finest first."""
        return list(self.body(images))
