"""Reading files of weights that come from anywhere, without running what they hold."""

from __future__ import annotations

import argparse
import math
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from xraycls.data.documents import parse_json
from xraycls.errors import WeightsError
from xraycls.models.files import METADATA_KEY, foreign_format
from xraycls.models.pickled_network import PickledNetwork, read_network
from xraycls.models.pruning_plan import PrunePlan
from xraycls.models.published import of_file

BEST = Path("checkpoints", "best.safetensors")

_CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.")
# What a number of numpy is made of again: its type and its bytes, nothing that could run.
_NUMBER_TYPES = (np.float64, np.float32, np.float16, np.int64, np.int32, np.bool_)
_NUMBERS_OF_NUMPY: list[Any] = [
    np.float64(0).__reduce__()[0],
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in _NUMBER_TYPES),
]
_MAGIC = (b"PK", b"\x80")  # a zip archive, as torch has saved since 1.6, or a plain pickle before


@dataclass(frozen=True)
class WeightFile:
    """The tensors of a file.

    Attributes:
        path: the file.
        tensors: by name, on the CPU, without the prefixes that wrappers such as DistributedDataParallel add.
        metadata: text that travels with them; empty but for safetensors.
        origin: class of the network that was pickled whole; empty for files of tensors alone.
        outputs: findings that the head tells, in the order of its outputs, where the file says so: a run of several
            findings, or one of torchxrayvision; empty text for an output that wasn't trained.
    """

    path: Path
    tensors: dict[str, torch.Tensor]
    metadata: dict[str, str]
    origin: str = ""
    outputs: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names in the order of the head's outputs; None unless the file is one of ours."""
        try:
            return tuple(parse_json(self.metadata[METADATA_KEY])["classes"])
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and deviation, of pixels in 0–1, of what the network sees; None unless the file is one of ours.

        Raises:
            WeightsError: no picture can have these.
        """
        try:
            config = parse_json(self.metadata[METADATA_KEY])["config"]
            mean, std = tuple(map(float, config["mean"])), tuple(map(float, config["std"]))
        except (KeyError, TypeError, ValueError):
            return None
        if len(mean) != len(std) or not all(map(math.isfinite, mean + std)) or min(std, default=0) <= 0:
            raise WeightsError(
                f"{self.path} is damaged: pictures can't have a mean of {list(mean)} and a deviation of {list(std)}",
                "Take a copy of the file as it was written",
            )
        return mean, std

    @property
    def plan(self) -> PrunePlan | None:
        """How narrow the network is that the tensors are of; None unless the file is a pruned one of ours."""
        try:
            plan = PrunePlan.parse(parse_json(self.metadata[METADATA_KEY])["pruned"])
            return plan if plan.layers else None
        except (KeyError, TypeError, ValueError):
            return None


def read_weights(path: Path) -> WeightFile:
    """Read a file of weights: safetensors, or what ``torch.save`` wrote of a state dict or of a whole network.

    Of a network that was pickled whole the tensors alone are read; see :mod:`xraycls.models.pickled_network`.

    Args:
        path: the file, or a run folder, whose best checkpoint is taken.

    Raises:
        WeightsError: there is no such file, it is damaged, it isn't a file of weights, or it holds Python objects
            beside or other than a network, which are refused because unpickling them can run any code.
    """
    if path.is_dir():
        if not (path / BEST).is_file():
            raise WeightsError(
                f"The folder {path} holds no {BEST.as_posix()}", "Give a run folder or a file of weights"
            )
        path /= BEST
    if not path.is_file():
        raise WeightsError(f"There are no weights at {path}", "Use imagenet, none, a file or a run folder")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = _read_torch(path)
    known = of_file(path)
    outputs = known.findings if known else ()
    if isinstance(content, PickledNetwork):
        tensors = _without_wrappers(content.tensors)
        return WeightFile(path, tensors, {}, content.origin, outputs or content.findings)
    return WeightFile(path, _unwrap(content, path), {}, outputs=outputs)


def read_checkpoint(path: Path) -> Any:
    """Returns what ``torch.save`` wrote, of tensors, numbers and text alone; raises WeightsError as `read_weights`."""
    if not path.is_file():
        raise WeightsError(f"There are no weights at {path}", "Name a file")
    content = _read_torch(path)
    return content.tensors if isinstance(content, PickledNetwork) else content


def _read_safetensors(path: Path) -> WeightFile:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            metadata = file.metadata() or {}
            return WeightFile(path, _without_wrappers(tensors), metadata, outputs=_findings_of_run(metadata))
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged or isn't a safetensors file ({error})") from error


def _read_torch(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(16)
    if not start.startswith(_MAGIC):
        if foreign := foreign_format(path, start):
            raise WeightsError(
                f"{path} is {foreign}, and can't be read as weights",
                "Give a file of torchvision's or timm's weights of the same network (.pth or .safetensors)",
            )
        raise WeightsError(f"{path} isn't a file of weights: it begins with {start!r}", "Was it downloaded whole?")
    try:
        # The training scripts of torchvision and timm leave their arguments beside the weights, others a best score.
        with torch.serialization.safe_globals([argparse.Namespace, *_NUMBERS_OF_NUMPY]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        return _read_network(path, error)
    except Exception as error:  # torch's reader of pickles trips over damage in any way
        raise WeightsError(f"{path} is damaged or cut short", "Fetch it again") from error


def _read_network(path: Path, why: pickle.UnpicklingError) -> PickledNetwork:
    """The network of a file that holds more than tensors; raises WeightsError where that is no network."""
    try:
        if network := read_network(path):
            return network
    except pickle.UnpicklingError as error:
        why = error
    except Exception as error:  # the reader of pickles trips over damage in any way
        raise WeightsError(f"{path} is damaged or cut short", "Fetch it again") from error
    raise WeightsError(
        f"{path} holds Python objects and not only tensors; it was refused, because reading them can run any code",
        f"Save net.state_dict() alone, without other objects beside it ({_culprit(why)})",
    ) from why


def _findings_of_run(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The findings of a file of ours; empty where the classes exclude each other, and for files of others."""
    try:
        description = parse_json(metadata[METADATA_KEY])
        return tuple(description["classes"]) if description["config"].get("multi_label") else ()
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()


def _culprit(error: Exception) -> str:
    """The class that unpickling stopped at, as torch names it."""
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f"it holds {named[1]}" if named else "it is no plain state dict"


def _unwrap(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """The state dict in what was saved: a state dict, or a training script's checkpoint around one."""
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
            if tensors:
                return _without_wrappers(tensors)
            # Whatever a training script calls it: the part with the most tensors.
            inner = max((part for part in content.values() if isinstance(part, Mapping)), key=_tensors_in, default=None)
            if inner is None or not _tensors_in(inner):
                break
        content = inner
    raise WeightsError(f"{path} holds no tensors by name", "Give a file that net.state_dict() was saved to")


def _tensors_in(content: Mapping[Any, Any]) -> int:
    """How many tensors lie in a mapping and in those within it."""
    return sum(
        _tensors_in(each) if isinstance(each, Mapping) else isinstance(each, torch.Tensor) for each in content.values()
    )


def _without_wrappers(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    while prefix := next((p for p in _WRAPPERS if tensors and all(k.startswith(p) for k in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
