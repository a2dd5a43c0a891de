"""A model on disk: one safetensors file with its tensors and all that is needed to build the network for them.

The tensors have the names of the layers of the network. The metadata holds, under "xraycls", a JSON object:

    format   4; files of formats 1 to 3, in which classifiers and detectors differed, are read as well
    kind     "classifier" or "detector"
    network  the architecture's or the detector's name, such as "ResNet18" or "ssd"
    classes  names, in the order of the outputs
    config   what else the network is built from
    pruned   module path → widths of the layers that pruning made narrower

More text, such as the operating threshold, travels beside it. With a key the whole file is encrypted.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from xraycls.data.documents import parse_json
from xraycls.data.files import atomic_write
from xraycls.errors import RunError, UsageError
from xraycls.models.encryption import WrongKey, decrypt, encrypt, is_encrypted
from xraycls.models.pruning_plan import PrunePlan, apply_plan
from xraycls.models.quantization import QuantizationPlan, quantize

logger = logging.getLogger(__name__)

FORMAT = 4
METADATA_KEY = "xraycls"

PLAIN, ENCRYPTED = ".safetensors", ".tlt"
"""Suffixes of models without and with a key; the second is that of TLT, whose scripts name it."""

SUFFIXES = (PLAIN, ENCRYPTED, ".hdf5", ".h5")
"""What the name of a model may end with: ours and those of TAO."""

Kind = Literal["classifier", "detector"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_TAO_SUFFIXES = (".tlt", ".etlt", ".hdf5", ".h5")
_FOCAL = (0.25, 2.0)  # of Lin et al. 2017
_OURS = "Give a file that xraycls wrote, or a .hdf5 of TAO 5 with its spec"
_DECODE = (
    "Decode it once with NVIDIA's TAO 5, which writes a plain .hdf5 that is read here: "
    "tao model NETWORK prune -m MODEL.tlt -k KEY -o MODEL.hdf5 -pth 0"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """What a file holds.

    Attributes:
        kind: of model.
        network: its name.
        classes: names, in the order of the outputs.
        config: what else the network is built from, as JSON has it.
        plan: how much narrower pruning made it; empty when it isn't pruned.
        tensors: by name, on the CPU.
        extra: more text that travels with the weights.
        quantization: what of it was trained to be computed in 8 bits; empty when nothing was.
    """

    kind: Kind
    network: str
    classes: tuple[str, ...]
    config: Mapping[str, Any]
    plan: PrunePlan
    tensors: Mapping[str, Tensor]
    extra: Mapping[str, str] = field(default_factory=dict)
    quantization: QuantizationPlan = field(default=QuantizationPlan())

    def fill(self, net: nn.Module) -> None:
        """Make a new network as narrow as the plan says and give it the tensors, in place.

        Raises:
            ValueError: the file is of another network.
        """
        apply_plan(net, self.plan)
        quantize(net, self.quantization)
        state = net.state_dict()  # with the version numbers that some networks look for
        wrong = [n for n in state if n not in self.tensors or self.tensors[n].shape != state[n].shape]
        wrong += list(self.tensors.keys() - state)
        if wrong:
            raise ValueError(f"{len(wrong)} tensors differ, the first is {wrong[0]}")
        state.update(self.tensors)
        net.load_state_dict(state)


def write_model(model: ModelFile, path: Path, *, key: str = "") -> None:
    """Write a model as one file, atomically; with a key, encrypted.

    Raises:
        XrayclsError: the file can't be written; an old one is untouched.
        MissingExtra: there is a key, and the package cryptography isn't installed.
    """
    description = {
        "format": FORMAT,
        "kind": model.kind,
        "network": model.network,
        "classes": model.classes,
        "config": model.config,
        "pruned": dict(model.plan.layers),
    }
    if model.quantization:
        description["quantized"] = model.quantization.described()
    metadata = {**model.extra, METADATA_KEY: json.dumps(description, ensure_ascii=False)}
    # Copies, because safetensors takes no tensors that share memory, as those of some networks of timm do.
    tensors = {name: t.clone(memory_format=torch.contiguous_format) for name, t in model.tensors.items()}
    # Serialised first, so that a full disk is an OSError of the write, which atomic_write explains.
    content = _in_order(safetensors.torch.save(tensors, metadata))
    with atomic_write(path) as temporary:
        temporary.write_bytes(encrypt(content, key) if key else content)


def _in_order(content: bytes) -> bytes:
    """A safetensors file with its text sorted, so that the same model gives the same bytes: the library shuffles it."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(content)[8 + length :]))


def read_model(path: Path, kind: Kind, *, key: str = "") -> ModelFile:
    """Read what :func:`write_model` or an earlier version wrote.

    Args:
        path: the file.
        kind: that the model must be of.
        key: that it was saved with; not needed without one.

    Raises:
        RunError: there is no such file, it is damaged, or it isn't a model of ours and of this kind.
        UsageError: the key is missing or wrong.
        MissingExtra: it is encrypted, and the package cryptography isn't installed.
    """
    tensors, metadata = _content(path, key)
    with explained_damage(path):
        description = parse_json(metadata.pop(METADATA_KEY, "{}"))
        if not description or description.get("kind", "classifier") != kind:
            raise RunError(f"{path} holds weights, but not of a {kind} of xraycls")
        if description["format"] > FORMAT:
            raise RunError(f"{path} was written by a newer xraycls", "Take the checkout of a newer version")
        described = _in_this_format(description)
        return ModelFile(
            kind=kind,
            network=described["network"],
            classes=tuple(described["classes"]),
            config=described["config"],
            plan=PrunePlan.parse(described["pruned"]),
            tensors=tensors,
            extra=metadata,
            quantization=QuantizationPlan.parse(described.get("quantized", {})),
        )


def read_metadata(path: Path) -> dict[str, str] | None:
    """Returns the text of a safetensors file, whoever wrote it, without reading its tensors; None for other files."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return None


def kind_of(metadata: Mapping[str, str]) -> Kind | None:
    """Returns what kind of model the text of a safetensors file describes; None when it isn't ours."""
    try:
        description = parse_json(metadata[METADATA_KEY])
        return "detector" if description.get("kind") == "detector" else "classifier"
    except (AttributeError, KeyError, ValueError):
        return None


@contextmanager
def explained_damage(path: Path) -> Iterator[None]:
    """Turn what a damaged description makes fail inside the block into a RunError that names the file."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError, UsageError) as error:
        raise RunError(f"{path} is damaged: its description and its tensors don't fit together ({error})") from error


def foreign_format(path: Path, start: bytes) -> str:
    """What a file is that can't be read as weights, in words: of Keras, of NVIDIA's TLT or TAO, or under a key of ours.

    Args:
        path: the file.
        start: its first 8 bytes or more.

    Returns:
        Empty for files that are neither.
    """
    if is_encrypted(start):
        return "a detector of xraycls under a key"
    if start.startswith(_HDF5):
        return "an HDF5 file of Keras, as NVIDIA's TAO has them"
    return "encrypted by NVIDIA's TLT or TAO, or damaged" if path.suffix.lower() in _TAO_SUFFIXES else ""


def model_suffix(key: str) -> str:
    """What the name of a model ends with that is saved with this key."""
    return ENCRYPTED if key else PLAIN


def named_model(path: Path, key: str) -> Path:
    """Where to save a model under a name that may lack its suffix; raises UsageError for a folder."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder, so no model can be written to it", f"Name a file in it: {path}/model")
    return path if path.suffix in SUFFIXES else path.with_name(path.name + model_suffix(key))


def find_model(path: Path, key: str = "") -> Path:
    """The model that a name of TAO means: the file itself, or the one that differs in its suffix alone.

    So ``ssd_resnet18_epoch_080.hdf5`` finds ``ssd_resnet18_epoch_080.tlt`` or ``.safetensors``, whichever the key
    fits when there are both.

    Raises:
        RunError: neither is there.
    """
    if path.is_file():
        return path
    if path == Path():
        raise UsageError("The name of the model is empty", "Give a model, or leave the flag out; is a variable unset?")
    if path.is_dir():
        raise RunError(f"{path} is a folder and no model", _others(path))
    stem = path.name
    while (suffix := Path(stem).suffix) in SUFFIXES:
        stem = stem.removesuffix(suffix)
    suffixes = sorted(SUFFIXES, key=lambda suffix: suffix != model_suffix(key))
    found = next((p for p in (path.with_name(stem + suffix) for suffix in suffixes) if p.is_file()), None)
    if found is None:
        raise RunError(f"There is no model {path}", _others(path.parent))
    return found


def _others(folder: Path) -> str:
    """The models of a folder."""
    names = sorted(path.name for path in folder.glob("*") if path.suffix in SUFFIXES)
    if not names:
        return f"There are no models in {folder}"
    return f"{folder} holds {', '.join(names[-3:])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _content(path: Path, key: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the text of a file, decrypted."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
        content = path.read_bytes() if is_encrypted(start) else b""
    except OSError as error:
        raise RunError(f"{path} could not be read: {error.strerror}") from error
    if not content and not start.startswith(b"{", 8):  # safetensors: the length of a JSON text, and the text
        what = foreign_format(path, start) or "not a model of xraycls, or it is damaged"
        raise RunError(f"{path} is {what}", _DECODE if "NVIDIA" in what else _OURS)
    plain = _decrypted(content, path, key) if content else b""
    try:
        if plain:
            return safetensors.torch.load(plain), _text(plain)
        with safe_open(path, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
            metadata = dict(opened.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"{path} is damaged or isn't a model of xraycls ({error})") from error
    if key:
        logger.warning("%s is not encrypted, so the key was not needed to read it.", path)
    return tensors, metadata


def _decrypted(content: bytes, path: Path, key: str) -> bytes:
    if not key:
        raise UsageError(f"{path} is encrypted, and no key is given", "Give the key that it was trained with: -k KEY")
    try:
        return decrypt(content, key)
    except WrongKey as error:
        raise UsageError(f"The key doesn't open {path}: it is another one, or the file is damaged") from error
    except ValueError as error:
        raise RunError(f"{path} is cut short ({error})") from error


def _text(content: bytes) -> dict[str, str]:
    """The text of a sound safetensors file in memory; its own library gives that of files on disk only."""
    length = int.from_bytes(content[:8], "little")
    return dict(parse_json(content[8 : 8 + length]).get("__metadata__", {}))


def _in_this_format(description: Mapping[str, Any]) -> Mapping[str, Any]:
    """A description of any format in the words of this one."""
    if description["format"] == FORMAT:
        return description
    if "kind" not in description:  # a classifier of format 1, or of format 2 when pruned
        apart = ("format", "architecture", "classes", "pruned")
        return {
            "network": description["architecture"],
            "classes": description["classes"],
            "config": {name: value for name, value in description.items() if name not in apart},
            "pruned": description.get("pruned", {}),
        }
    if description["format"] == 1:
        return _of_first_detectors(description)
    return {**description, "network": description["config"]["network"]}  # a detector of format 2 or 3


def _of_first_detectors(description: Mapping[str, Any]) -> dict[str, Any]:
    """The description of an SSD of the first format in today's words.

    It didn't say how the network was trained, but for a focal loss, nor whose layers its backbone had.
    """
    # Classifiers don't need the backbones of detectors, nor the time that their import takes.
    from xraycls.models.backbones import arithmetic_of_old_files

    old = dict(description["detector"])
    backbone = f"{old['arch']}{old['layers'] or ''}"
    config = {
        **{name: old[name] for name in ("classes", "height", "width", "anchors", "mean", "prediction_channels")},
        "network": old["network"],
        "backbone": backbone,
        "arithmetic": arithmetic_of_old_files(backbone),
        "suppression": description["suppression"],
        "loss": {"focal": _FOCAL if old["sigmoid"] else None},
    }
    return {"network": old["network"], "classes": old["classes"], "config": config, "pruned": description["plan"]}
