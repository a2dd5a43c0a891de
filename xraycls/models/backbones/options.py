"""How a body computes what its architecture leaves open: activation, batch normalisation, biases, strides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

Arithmetic = Literal["tao", "torchvision", "mixed"]
"""Whose layers a body has.

``tao``: those of NVIDIA TAO, what its weights expect. ``torchvision``: those of torchvision and timm, what theirs
expect. ``mixed``: torchvision's layers with the batch normalisation of Keras, which detectors had before the choice
was stored with them; in most bodies it is the same as ``tao``.
"""
Activation = Literal["relu", "leaky_relu", "mish", "swish"]

KERAS_EPSILON, KERAS_MOMENTUM = 1e-3, 0.01  # Keras' momentum of 0.99 is torch's 0.01
TORCH_EPSILON = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyOptions:
    """What a network decides about its body.

    Attributes:
        arithmetic: whose layers: see :data:`Arithmetic`.
        activation: of Darknet, CSPDarknet and EfficientNet; None for the family's own. Others have ReLU.
        bias: whether convolutions before batch normalisation have a bias (``use_bias``).
        all_projections: whether every shortcut is a 1x1 convolution; else only those that change the size.
        pooling: whether max-pooling halves the map instead of strides, in ResNet and VGG (``use_pooling``).
        last_stride: of the block that leads from stride 16 to 32; None for the family's own.
        drop_connect: probability that the last residual block of an EfficientNet is skipped in training, 0–1.
    """

    arithmetic: Arithmetic = "tao"
    activation: Activation | None = None
    bias: bool = False
    all_projections: bool = True
    pooling: bool = False
    last_stride: int | None = None
    drop_connect: float = 0.2

    def norm(
        self, channels: int, *, torch_epsilon: float = TORCH_EPSILON, momentum: float = KERAS_MOMENTUM
    ) -> nn.BatchNorm2d:
        """Returns batch normalisation.

        Args:
            channels: of the map.
            torch_epsilon: of the network in torchvision or timm; TAO's is 0.001.
            momentum: of the running statistics in TAO; torchvision's is torch's own, 0.1.
        """
        if self.arithmetic == "torchvision":
            return nn.BatchNorm2d(channels, eps=torch_epsilon)
        return nn.BatchNorm2d(channels, eps=KERAS_EPSILON, momentum=momentum)

    def act(self, default: Activation = "relu") -> nn.Module:
        """Returns the activation that the network wants, or the family's own."""
        kind = self.activation or default
        if kind == "leaky_relu":
            return nn.LeakyReLU(0.1, inplace=True)
        return {"relu": nn.ReLU, "mish": nn.Mish, "swish": nn.SiLU}[kind](inplace=True)

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
        """Returns a convolution that batch normalisation follows, padded so that strides divide the size."""
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=self.bias)

    def unit(self, inputs: int, outputs: int, kernel: int, stride: int = 1, act: Activation = "relu") -> nn.Sequential:
        """Returns convolution, batch normalisation and activation."""
        return nn.Sequential(self.conv(inputs, outputs, kernel, stride), self.norm(outputs), self.act(act))


def he_normal(module: nn.Module) -> None:
    """Initialise the convolutions of a module as He et al. (2015) do, by the number of outputs."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
