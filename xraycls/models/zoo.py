"""The architectures by name: one table, and the two libraries behind ``timm:NAME`` and ``torchvision:NAME``.

Nothing here imports torch until a name of one of the libraries is looked up, so the table can be listed without it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from xraycls.errors import UsageError, unknown

Channels = tuple[float, ...]
Stages = tuple[tuple[str, ...], ...]

IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
HALF: Channels = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Normalization:
    """How pictures are fed: ``(pixels - mean) / std``, of pixels in 0–1.

    Attributes:
        mean: one number for each channel, or one for all.
        std: as many, above 0.

    Example:
        >>> Normalization.parse("0.5307/0.2583").spread(3).mean
        (0.5307, 0.5307, 0.5307)
    """

    mean: Channels
    std: Channels

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise ValueError(f"{self} is no mean and deviation above 0 of each channel")

    def __str__(self) -> str:
        return "/".join(",".join(map(repr, values)) for values in (self.mean, self.std))

    @classmethod
    def parse(cls, text: str) -> Normalization:
        """From ``MEAN/STD`` or ``R,G,B/R,G,B``; raises UsageError for anything else."""
        try:
            mean, std = (tuple(float(number) for number in part.split(",")) for part in text.split("/"))
            return cls(mean, std)
        except ValueError:
            raise UsageError(
                f"--normalize {text} is no mean and deviation of pixels in 0–1",
                "Give MEAN/STD as 0.5307/0.2583, or a number for each of three channels: 0.48,0.46,0.41/0.27,0.26,0.28",
            ) from None

    def spread(self, channels: int) -> Normalization:
        """The same for so many channels; raises UsageError where it is of another number."""
        if len(self.mean) == 1:
            return Normalization(self.mean * channels, self.std * channels)
        if len(self.mean) != channels:
            raise UsageError(f"--normalize {self} is for {len(self.mean)} channels, and the network takes {channels}")
        return self


@dataclass(frozen=True, slots=True)
class Architecture:
    """What the rest of the package needs to know of a network before it is built.

    Attributes:
        name: canonical name, such as "ResNet18" or "timm:vit_tiny_patch16_224".
        library: the package that builds it.
        builder: the name under which that package knows it.
        input_size: side of the square input that its ImageNet weights were trained with, in pixels.
        min_size: smallest side that it can take, in pixels.
        mean: subtracted from RGB in 0–1 before the first layer; one number where the network takes grey pictures.
        std: divides what is left, of as many channels.
        head: module path of the last layer, which is new for every set of classes; None: found on the network.
        cam_layer: module path whose output class activation maps weigh; None: found on the network.
        weights: file (torchvision) or hub repository (timm) of its ImageNet weights; None when there are none.
        auxiliary: modules of further heads, which act in training only or share the classes of the head.
        auxiliary_weight: factor of each auxiliary head's loss; 0 where there is none.
        auxiliary_size: smallest side at which the auxiliary heads can run, in pixels; below it they are left out.
        stages: module paths from the input to the head, grouped as ``freeze`` counts them; empty: found on the
            network.
    """

    name: str
    library: Literal["torchvision", "timm"]
    builder: str
    input_size: int
    min_size: int
    mean: Channels
    std: Channels
    head: str | None
    cam_layer: str | None
    weights: str | None
    auxiliary: tuple[str, ...] = ()
    auxiliary_weight: float = 0.0
    auxiliary_size: int = 0
    stages: Stages = ()

    @property
    def channels(self) -> int:
        """Channels that the first layer takes: 3, or 1 for grey pictures."""
        return len(self.mean)

    def fed(self, normalize: str | None) -> Architecture:
        """The same network for pictures that are normalised as ``--normalize`` says; None leaves its own."""
        if normalize is None:
            return self
        pictures = Normalization.parse(normalize).spread(self.channels)
        return replace(self, mean=pictures.mean, std=pictures.std)


_RESNET_STAGES: Stages = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))


def _resnet(depth: int, weights: str) -> Architecture:
    return Architecture(
        name=f"ResNet{depth}",
        library="torchvision",
        builder=f"resnet{depth}",
        input_size=224,
        min_size=16,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        head="fc",
        cam_layer="layer4",
        weights=weights,
        stages=_RESNET_STAGES,
    )


def _plain(name: str, min_size: int, weights: str, cam_layer: str, stages: Stages) -> Architecture:
    """A plain stack of convolutions; its CAM layer is the last ReLU, before pooling halves the map."""
    return Architecture(
        name=name,
        library="torchvision",
        builder=name.lower(),
        input_size=224,
        min_size=min_size,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        head="classifier.6",
        cam_layer=cam_layer,
        weights=weights,
        stages=stages,
    )


def _vgg(depth: int, convolutions: tuple[int, ...], weights: str) -> Architecture:
    """A VGG whose blocks have that many convolutions, each followed by a ReLU, and end in a pooling layer."""
    stages, index = [], 0
    for count in convolutions:
        stages.append(tuple(f"features.{index + 2 * n}" for n in range(count)))
        index += 2 * count + 1
    hidden = (("classifier.0",), ("classifier.3",))
    return _plain(f"VGG{depth}", 32, weights, f"features.{index - 2}", (*stages, *hidden))


# torchvision's files of these two were ported from TensorFlow, where pixels run from -1 to 1: mean and deviation
# one half do what torchvision's transform_input=True does after an ImageNet normalisation.
_GOOGLENET = Architecture(
    name="GoogleNet",
    library="torchvision",
    builder="googlenet",
    input_size=224,
    min_size=16,
    mean=HALF,
    std=HALF,
    head="fc",
    cam_layer="inception5b",
    weights="googlenet-1378be20.pth",
    auxiliary=("aux1", "aux2"),
    auxiliary_weight=0.3,  # Szegedy et al. 2015, section 5
    stages=(
        ("conv1",),
        ("conv2", "conv3"),
        ("inception3a", "inception3b"),
        ("inception4a", "inception4b", "inception4c", "inception4d", "inception4e"),
        ("inception5a", "inception5b"),
    ),
)
_INCEPTION = Architecture(
    name="Inception",
    library="torchvision",
    builder="inception_v3",
    input_size=299,
    min_size=75,
    mean=HALF,
    std=HALF,
    head="fc",
    cam_layer="Mixed_7c",
    weights="inception_v3_google-0cc3c7bd.pth",
    auxiliary=("AuxLogits",),
    auxiliary_weight=0.4,  # Szegedy et al. 2016 give none; their released training code uses 0.4
    auxiliary_size=299,
    stages=(
        ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"),
        ("Conv2d_3b_1x1", "Conv2d_4a_3x3"),
        ("Mixed_5b", "Mixed_5c", "Mixed_5d"),
        ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
        ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
    ),
)
_ALEXNET_STAGES = (
    *((f"features.{index}",) for index in (0, 3, 6, 8, 10)),
    ("classifier.1",),
    ("classifier.4",),
)

# ResNets take torchvision's first weights: the second ones were trained with label smoothing among other things,
# which raises ImageNet accuracy but makes features that transfer worse (Kornblith et al. 2021).
_TABLE: dict[str, Architecture] = {
    architecture.name.lower(): architecture
    for architecture in (
        _resnet(18, "resnet18-f37072fd.pth"),
        _resnet(34, "resnet34-b627a593.pth"),
        _resnet(50, "resnet50-0676ba61.pth"),
        _resnet(101, "resnet101-63fe2227.pth"),
        _resnet(152, "resnet152-394f9c45.pth"),
        _plain("Alexnet", 63, "alexnet-owt-7be5be79.pth", "features.11", _ALEXNET_STAGES),
        _vgg(11, (1, 1, 2, 2, 2), "vgg11-8a719046.pth"),
        _vgg(13, (2, 2, 2, 2, 2), "vgg13-19584684.pth"),
        _vgg(16, (2, 2, 3, 3, 3), "vgg16-397923af.pth"),
        _vgg(19, (2, 2, 4, 4, 4), "vgg19-dcbb9e9d.pth"),
        _GOOGLENET,
        _INCEPTION,
    )
}
_BY_BUILDER = {architecture.builder: architecture for architecture in _TABLE.values()}


def _xrv(builder: str, size: int, head: str, cam_layer: str | None, stages: Stages) -> Architecture:
    """A network of torchxrayvision: torchvision's with one channel, of which 0–255 becomes -1024 to 1024."""
    return Architecture(
        name=f"xrv:{builder}",
        library="torchvision",
        builder=builder,
        input_size=size,
        min_size=32,
        mean=(0.5,),
        std=(0.5 / 1024,),
        head=head,
        cam_layer=cam_layer,
        weights=None,
        stages=stages,
    )


_DENSENET_STAGES: Stages = (
    ("features.conv0", "features.norm0"),
    ("features.denseblock1", "features.transition1"),
    ("features.denseblock2", "features.transition2"),
    ("features.denseblock3", "features.transition3"),
    ("features.denseblock4", "features.norm5"),
)
_XRV = {
    architecture.name: architecture
    for architecture in (
        _xrv("densenet121", 224, "classifier", "features", _DENSENET_STAGES),
        _xrv("resnet50", 512, "fc", "layer4", _RESNET_STAGES),
    )
}


def list_architectures() -> tuple[Architecture, ...]:
    """The architectures with a name of their own, in the order of the table."""
    return tuple(_TABLE.values())


@cache
def find(name: str) -> Architecture:
    """The architecture of that name, in any case, or of a library as ``timm:NAME`` or ``torchvision:NAME``.

    torchvision's own spelling of a name in the table, such as "inception_v3", is understood too, and the networks of
    torchxrayvision: ``xrv:densenet121`` and ``xrv:resnet50``.

    Raises:
        UsageError: there is none; the sentence gives the nearest names.
    """
    known = _TABLE.get(name.lower()) or _BY_BUILDER.get(name.lower()) or _XRV.get(name.lower())
    if known:
        return known
    library, _, builder = name.partition(":")
    if builder and library.lower() == "timm":
        return _from_timm(builder)
    if builder and library.lower() == "torchvision":
        return _from_torchvision(builder.lower())
    if full := _in_libraries(name.lower()):
        raise UsageError(f"Unknown model {name!r} for --base-model", f"Write {' or '.join(full)}")
    raise unknown("model", name, [*(a.name for a in _TABLE.values()), *_XRV, "timm:NAME"], "--base-model")


def _in_libraries(name: str) -> list[str]:
    """The names, with that of their library, of networks that are called so there."""
    import timm

    from xraycls.models.torchvision import models

    full = [f"torchvision:{name}"] if name in models.list_models(module=models) else []
    return [*full, f"timm:{name}"] if timm.is_model(name.partition(".")[0]) else full


def _from_torchvision(builder: str) -> Architecture:
    from xraycls.models.torchvision import models

    if builder in _BY_BUILDER:
        return _BY_BUILDER[builder]
    names = models.list_models(module=models)
    if builder not in names:
        raise _unknown_in("torchvision", builder, names)
    weights = models.get_model_weights(builder).DEFAULT
    presets = weights.transforms()
    return Architecture(
        name=f"torchvision:{builder}",
        library="torchvision",
        builder=builder,
        input_size=presets.crop_size[0],
        min_size=weights.meta["min_size"][0],
        mean=_rgb(presets.mean),
        std=_rgb(presets.std),
        head=None,
        cam_layer=None,
        weights=weights.url.rpartition("/")[2],
    )


def _from_timm(builder: str) -> Architecture:
    import timm

    try:
        config: Any = timm.get_pretrained_cfg(builder)
    except RuntimeError:  # the network exists, but not with the tag after the dot
        raise _unknown_in("timm", builder, timm.list_pretrained(f"{builder.partition('.')[0]}.*")) from None
    if config is None or not timm.is_model(builder):
        raise _unknown_in("timm", builder, timm.list_models())
    if not config.classifier:
        raise UsageError(f"timm:{builder} has no classification head", "Choose another network of timm")
    heads = (config.classifier,) if isinstance(config.classifier, str) else tuple(config.classifier)
    return Architecture(
        name=f"timm:{builder}",
        library="timm",
        builder=builder,
        input_size=config.input_size[-1],
        min_size=(config.min_input_size or (1,))[-1],
        mean=_rgb(config.mean),
        std=_rgb(config.std),
        head=heads[0],
        cam_layer=None,
        weights=config.hf_hub_id or config.url or None,
        auxiliary=heads[1:],
    )


def _rgb(values: Iterable[float]) -> Channels:
    red, green, blue = values
    return red, green, blue


def _unknown_in(library: str, builder: str, names: list[str]) -> UsageError:
    """Libraries know too many names to list them all when none is near."""
    near = difflib.get_close_matches(builder, names, n=3, cutoff=0.5)
    hint = f"Did you mean {', '.join(near)}?" if near else f"See {library}.list_models() for the names"
    return UsageError(f"{library} has no model {builder!r}", hint)
