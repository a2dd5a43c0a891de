"""The network in a spec of Faster R-CNN, as configuration objects.

Fields have the names, types and zero values of the spec; None is what isn't given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class SizeMin:
    """An input of no fixed size; its shorter side, pixels."""

    min: int = 0


@dataclass(frozen=True, slots=True)
class SizeHeightWidth:
    """An input of a fixed size, pixels."""

    height: int = 0
    width: int = 0


@dataclass(frozen=True, slots=True)
class InputImageConfig:
    """The network's input.

    Attributes:
        image_type: three channels or one.
        size_min: an input of no fixed size; or:
        size_height_width: 160 pixels or more each.
        image_channel_order: "rgb", "bgr" or "l".
        image_channel_mean: what is subtracted, by channel: r, g and b, or l.
        image_scaling_factor: what the rest is divided by.
        max_objects_num_per_image: that a training image may have.
    """

    image_type: Literal["RGB", "GRAY_SCALE"] = "RGB"
    size_min: SizeMin | None = None
    size_height_width: SizeHeightWidth | None = None
    image_channel_order: str = ""
    image_channel_mean: Mapping[str, float] = field(default_factory=dict)
    image_scaling_factor: float = 0.0
    max_objects_num_per_image: int = 0


@dataclass(frozen=True, slots=True)
class AnchorBoxConfig:
    """Anchors: each side, pixels, with each width through height."""

    scale: tuple[float, ...] = ()
    ratio: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class RoiPoolingConfig:
    """Pooling of proposals.

    Attributes:
        pool_size: side of what is cut out of the feature map, cells.
        pool_size_2x: cut out twice as many and pool them.
    """

    pool_size: int = 0
    pool_size_2x: bool = False


@dataclass(frozen=True, slots=True)
class Activation:
    """Of an efficientnet: "relu" or "swish"."""

    activation_type: str = ""
    activation_parameters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The network.

    Attributes:
        input_image_config: its input.
        arch: of the backbone, "resnet:18".
        anchor_box_config: its anchors.
        roi_mini_batch: proposals of an image that the second stage learns from.
        rpn_stride: 16.
        freeze_bn: of the backbone.
        dropout_rate: of vgg's last layers.
        drop_connect_rate: of an efficientnet.
        rpn_cls_activation_type: "sigmoid".
        freeze_blocks: of the backbone, not trained.
        use_bias: in convolutions before a batch normalisation.
        roi_pooling_config: of proposals.
        rfcn_mode: not used.
        tf_proposal_layer: not used.
        all_projections: of a resnet: a convolution in every shortcut.
        use_pooling: of a resnet or vgg: pool, where it would stride.
        activation: of an efficientnet.
    """

    input_image_config: InputImageConfig = InputImageConfig()
    arch: str = ""
    anchor_box_config: AnchorBoxConfig = AnchorBoxConfig()
    roi_mini_batch: int = 0
    rpn_stride: int = 0
    freeze_bn: bool = False
    dropout_rate: float = 0.0
    drop_connect_rate: float = 0.0
    rpn_cls_activation_type: str = ""
    freeze_blocks: tuple[float, ...] = ()
    use_bias: bool = False
    roi_pooling_config: RoiPoolingConfig = RoiPoolingConfig()
    rfcn_mode: bool = False
    tf_proposal_layer: bool = False
    all_projections: bool = False
    use_pooling: bool = False
    activation: Activation = Activation()


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The network in TLT 2; as :class:`ModelConfig` but for two names.

    Attributes:
        feature_extractor: its ``arch``.
        conv_bn_share_bias: the opposite of its ``use_bias``.
    """

    input_image_config: InputImageConfig = InputImageConfig()
    feature_extractor: str = ""
    anchor_box_config: AnchorBoxConfig = AnchorBoxConfig()
    roi_mini_batch: int = 0
    rpn_stride: int = 0
    freeze_bn: bool = False
    dropout_rate: float = 0.0
    drop_connect_rate: float = 0.0
    rpn_cls_activation_type: str = ""
    freeze_blocks: tuple[float, ...] = ()
    conv_bn_share_bias: bool = False
    roi_pooling_config: RoiPoolingConfig = RoiPoolingConfig()
    rfcn_mode: bool = False
    tf_proposal_layer: bool = False
    all_projections: bool = False
    use_pooling: bool = False
