"""Weights in the layout of the Hugging Face hub: config.json beside a file of tensors, in a folder or by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from xraycls.data.documents import read_json_object
from xraycls.errors import WeightsError
from xraycls.models.pretrained import first_sentence, is_reachable
from xraycls.models.zoo import Normalization, find

PREFIX = "hf-hub:"
"""What the names of repositories begin with: ``hf-hub:OWNER/NAME`` or ``hf-hub:OWNER/NAME@REVISION``, as in timm."""

_CONFIG, _OPEN_CLIP, _PICTURES = "config.json", "open_clip_config.json", "preprocessor_config.json"
_WEIGHTS = ("model.safetensors", "open_clip_model.safetensors", "open_clip_pytorch_model.bin", "pytorch_model.bin")
# Vision transformers of transformers by their width: what timm calls that size, and how many blocks it has.
_SIZES = {192: ("tiny", 12), 384: ("small", 12), 768: ("base", 12), 1024: ("large", 24)}
_FAMILIES = {"vit": "_224", "dinov2": "_dinov2"}
# Arguments of timm's networks that concern the head, what is dropped, and the size of the input alone.
_HARMLESS = {"img_size", "num_classes", "in_chans", "global_pool", "dynamic_img_size", "strict_img_size", "drop_rate"}


@dataclass(frozen=True, slots=True)
class HubModel:
    """What the configuration beside weights says of their network.

    Attributes:
        base_model: the architecture, as :func:`xraycls.models.zoo.find` knows it.
        size: side of the pictures that it learned from, in pixels.
        pictures: how these were normalised; None where nothing is said.
    """

    base_model: str
    size: int
    pictures: Normalization | None = None

    def settings(self) -> dict[str, Any]:
        """What a training takes over: the network, and what of its input is not the network's own."""
        own = find(self.base_model)
        settings: dict[str, Any] = {"base_model": self.base_model}
        if self.size != own.input_size:
            settings["size"] = self.size
        if self.pictures and self.pictures.spread(own.channels) != Normalization(own.mean, own.std):
            settings["normalize"] = str(self.pictures)
        return settings


@dataclass(frozen=True)
class Repository:
    """A folder, or a repository of the hub, whose files are fetched unless they lie in its cache.

    Attributes:
        source: ``hf-hub:OWNER/NAME`` or the folder.
    """

    source: str

    @cached_property
    def online(self) -> bool:
        """Whether the hub answers; asked once."""
        from huggingface_hub import constants

        return not constants.HF_HUB_OFFLINE and is_reachable(constants.ENDPOINT)

    def get(self, *names: str) -> Path | None:
        """Where the first of these files lies that there is; raises WeightsError where the hub doesn't give it."""
        return next((path for name in names if (path := self._one(name))), None)

    def need(self, *names: str) -> Path:
        """As :meth:`get`; raises WeightsError where there is none of them."""
        if path := self.get(*names):
            return path
        said = f"{self.source} holds no {' or '.join(names)}"
        if not is_hub_name(self.source) or self.online:
            raise WeightsError(said, "Give the file of weights to --weights, and its network to --base-model")
        raise self._unfetched(names[0], "the hub can't be reached")

    def _one(self, name: str) -> Path | None:
        if not is_hub_name(self.source):
            path = Path(self.source, name)
            return path if path.is_file() else None
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        repository, _, revision = self.source[len(PREFIX) :].partition("@")
        try:
            return Path(hf_hub_download(repository, name, revision=revision or None, local_files_only=not self.online))
        except EntryNotFoundError as error:
            if isinstance(error, LocalEntryNotFoundError) and self.online:
                raise self._unfetched(name, first_sentence(error)) from error
            return None
        except Exception as error:  # the errors of the hub and of its HTTP client share no base
            raise self._unfetched(name, first_sentence(error)) from error

    def _unfetched(self, name: str, reason: str) -> WeightsError:
        from huggingface_hub import constants

        address = f"{constants.ENDPOINT}/{self.source[len(PREFIX) :].partition('@')[0]}"
        return WeightsError(
            f"{name} of {self.source} can't be fetched ({reason})",
            f"Download the files of {address} to a folder and give that to --weights, or fill "
            f"{constants.HF_HUB_CACHE} where there is internet",
        )


def is_hub_name(source: str | Path) -> bool:
    """Whether weights are named as a repository of the hub."""
    return str(source).lower().startswith(PREFIX)


def hub_model(source: str | Path) -> HubModel | None:
    """The network of weights in the hub's layout: timm's, open_clip's, or a vision transformer of transformers.

    Args:
        source: of ``--weights``.

    Returns:
        None for what is neither named in the hub nor a folder of its layout.

    Raises:
        WeightsError: it can't be fetched, or is of a network that can't be built here.
    """
    if not is_hub_name(source) and not any(Path(source, name).is_file() for name in (_CONFIG, _OPEN_CLIP)):
        return None
    files = Repository(str(source))
    path = files.get(_OPEN_CLIP) or files.need(_CONFIG)
    try:
        config = read_json_object(path)
        if path.name == _OPEN_CLIP:
            return _of_open_clip(config)
        if "architecture" in config:
            return _of_timm(config)
        pictures = files.get(_PICTURES)
        return _of_transformers(config, read_json_object(pictures) if pictures else {})
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path.name} of {source} tells no network that can be built here ({first_sentence(error)})",
            "Give the file of weights itself to --weights, and its network to --base-model",
        ) from error


def hub_file(source: str | Path) -> Path:
    """The file of weights of what :func:`hub_model` knows; raises WeightsError where there is none."""
    return Repository(str(source)).need(*_WEIGHTS)


def _of_timm(config: Mapping[str, Any]) -> HubModel:
    """What ``timm.models.push_to_hf_hub`` writes, and the flat layout of before."""
    own, arguments = config.get("pretrained_cfg", config), config.get("model_args") or {}
    if other := sorted(set(arguments) - _HARMLESS):
        raise ValueError(f"its {config['architecture']} was built with {', '.join(other)}")
    size = arguments.get("img_size") or own["input_size"][-1]
    return HubModel(f"timm:{config['architecture']}", _side(size), _pictures(own.get("mean"), own.get("std")))


def _of_open_clip(config: Mapping[str, Any]) -> HubModel:
    """The half of a CLIP that sees, where it is a network of timm."""
    vision, pictures = config["model_cfg"]["vision_cfg"], config.get("preprocess_cfg") or {}
    if "timm_model_name" not in vision:
        raise ValueError("what it sees with is no network of timm")
    size = vision.get("image_size") or 224
    return HubModel(
        f"timm:{vision['timm_model_name']}", _side(size), _pictures(pictures.get("mean"), pictures.get("std"))
    )


def _of_transformers(config: Mapping[str, Any], pictures: Mapping[str, Any]) -> HubModel:
    """A ViT or DINOv2 in one of the sizes that timm has a name for."""
    kind = config.get("model_type")
    if kind not in _FAMILIES:
        raise ValueError(f"it is of the type {kind}; those of transformers that are known are {', '.join(_FAMILIES)}")
    width = int(config["hidden_size"])
    size, blocks = _SIZES.get(width, ("", 0))
    built = (config["num_hidden_layers"], config["num_attention_heads"], config.get("hidden_act", "gelu"))
    if not size or built != (blocks, width // 64, "gelu") or config.get("use_swiglu_ffn"):
        raise ValueError(
            f"timm has no {kind} of {built[0]} blocks, {width} features and {built[1]} heads by {built[2]}"
        )
    said = (pictures.get("image_mean"), pictures.get("image_std")) if pictures.get("do_normalize", True) else (0, 1)
    name = f"timm:vit_{size}_patch{config['patch_size']}{_FAMILIES[kind]}"
    return HubModel(name, _side(config["image_size"]), _pictures(*said))


def _side(size: Any) -> int:
    """Of a square; raises ValueError for other shapes."""
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise ValueError(f"its pictures are no squares but {size}")
    return int(sides.pop())


def _pictures(mean: Any, std: Any) -> Normalization | None:
    if mean is None or std is None:
        return None
    listed = [[each] if isinstance(each, int | float) else each for each in (mean, std)]
    return Normalization(tuple(map(float, listed[0])), tuple(map(float, listed[1])))
