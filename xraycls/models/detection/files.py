"""Detectors on disk: one file that holds the tensors and all that is needed to build the network for them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from xraycls.data.files import atomic_write
from xraycls.errors import RunError, UsageError
from xraycls.models.backbones import arithmetic_of_old_files
from xraycls.models.detection.base import Detector, DetectorConfig
from xraycls.models.detection.keras import detector_of_keras
from xraycls.models.detection.registry import build_detector, parse_detector_config
from xraycls.models.encryption import WrongKey, decrypt, encrypt, is_encrypted
from xraycls.models.keras_file import is_keras_file
from xraycls.models.pruning_plan import PrunePlan, apply_plan, plan_between
from xraycls.models.weight_files import METADATA_KEY, foreign_format

logger = logging.getLogger(__name__)

FORMAT = 3  # 1 had the description of an SSD in other words, see _of_format_1
PLAIN, ENCRYPTED = ".safetensors", ".tlt"
"""Suffixes of models without and with a key; the second is that of TLT, whose scripts name it."""

SUFFIXES = (PLAIN, ENCRYPTED, ".hdf5", ".h5")
"""What the name of a model may end with: ours and those of TAO."""

_FOCAL = (0.25, 2.0)  # of Lin et al. 2017

_OURS = "Give a file that xraycls wrote, or a .hdf5 of TAO 5 with its spec"
_DECODE = (
    "Decode it once with NVIDIA's TAO 5, which writes a plain .hdf5 that is read here: "
    "tao model NETWORK prune -m MODEL.tlt -k KEY -o MODEL.hdf5 -pth 0"
)


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


def pruning_of(detector: Detector) -> PrunePlan:
    """How much narrower pruning made a network than its configuration says; an empty plan when it isn't pruned."""
    with torch.device("meta"):  # shapes alone
        whole = build_detector(detector.config).net
    return plan_between(whole, detector.net.state_dict())


def save_detector(detector: Detector, path: Path, *, key: str = "", extra: Mapping[str, str] | None = None) -> None:
    """Write a detector as one safetensors file, atomically; with a key, encrypted.

    The tensors have the names of the layers of ``detector.net``. The metadata holds, under "xraycls", JSON with the
    version of the format, the kind "detector", the classes, the configuration and, of a pruned network, the widths of
    its layers under "pruned".

    Args:
        detector: to write.
        path: the file, whatever its suffix.
        key: what only opens it again; "" for none.
        extra: more text to travel with the weights.

    Raises:
        XrayclsError: the file can't be written; an old one is untouched.
        MissingExtra: there is a key, and the package cryptography isn't installed.
    """
    tensors = {name: tensor.contiguous() for name, tensor in detector.net.state_dict().items()}
    description = {
        "format": FORMAT,
        "kind": "detector",
        "classes": detector.config.classes,
        "config": detector.config.described(),
        "pruned": dict(pruning_of(detector).layers),
    }
    metadata = {**(extra or {}), METADATA_KEY: json.dumps(description, ensure_ascii=False)}
    content = safetensors.torch.save(tensors, metadata)
    with atomic_write(path) as temporary:
        temporary.write_bytes(encrypt(content, key) if key else content)


def load_detector(
    path: Path, *, key: str = "", config: Callable[[], DetectorConfig] | None = None
) -> tuple[Detector, dict[str, str]]:
    """Read what :func:`save_detector` wrote, or a trained model in a Keras file of TAO 5.

    Args:
        path: the file, as :func:`find_model` takes it.
        key: that it was saved with; not needed without one.
        config: gives what a Keras file doesn't say: the spec's configuration. None refuses such files.

    Returns:
        The detector on the CPU, in evaluation mode, as narrow as it was pruned, and ``extra``.

    Raises:
        RunError: there is no such file, it is damaged, or it isn't a detector of ours.
        UsageError: the key is missing or wrong.
        MissingExtra: it is encrypted, and the package cryptography isn't installed.
    """
    path = find_model(path, key)
    if is_keras_file(path):
        if config is None:
            raise RunError(
                f"{path} is a Keras file of TAO, which has no names of classes and no means in it",
                "Give the spec that it was trained with, or convert it: xraycls convert-weights",
            )
        detector, lines = detector_of_keras(path, config())
        for line in lines:
            logger.info("%s", line)
        return detector, {}
    content = _opened(path, key)
    try:
        tensors = safetensors.torch.load(content)
        metadata = _metadata(content)
    except (SafetensorError, ValueError) as error:
        raise RunError(f"{path} is damaged or isn't a model of xraycls ({error})") from error
    try:
        description = json.loads(metadata.pop(METADATA_KEY, "{}"))
        if description.get("kind") != "detector":
            raise RunError(f"{path} holds weights, but not of a detector of xraycls")
        if description["format"] > FORMAT:
            raise RunError(f"{path} was written by a newer xraycls", "Take the checkout of a newer version")
        detector = _rebuilt(description, tensors)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError, UsageError) as error:
        raise RunError(f"{path} is damaged: its description and its tensors don't fit together ({error})") from error
    return detector, metadata


def _rebuilt(description: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Detector:
    if description["format"] == 1:
        description = _of_format_1(description)
    detector = build_detector(parse_detector_config(description["config"]))
    apply_plan(detector.net, PrunePlan.parse(description["pruned"]))
    own = detector.net.state_dict()
    wrong = [n for n in own if n not in tensors or tensors[n].shape != own[n].shape] + list(tensors.keys() - own)
    if wrong:
        raise ValueError(f"{len(wrong)} tensors differ, the first is {wrong[0]}")
    detector.net.load_state_dict(tensors)
    return detector.eval()


def _of_format_1(description: Mapping[str, Any]) -> dict[str, Any]:
    """The description of an SSD of the first format in today's words.

    It didn't say how the network was trained, but for a focal loss, nor whose layers its backbone had.
    """
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
    return {"config": config, "pruned": description["plan"]}


def _opened(path: Path, key: str) -> bytes:
    """The content of a model's file, decrypted."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} could not be read: {error.strerror}") from error
    if is_encrypted(content):
        return _decrypted(content, path, key)
    if not content.startswith(b"{", 8):  # safetensors: the length of a JSON text, and the text
        what = foreign_format(path, content) or "not a model of xraycls, or it is damaged"
        raise RunError(f"{path} is {what}", _DECODE if "NVIDIA" in what else _OURS)
    if key:
        logger.warning("%s is not encrypted, so the key was not needed to read it.", path)
    return content


def _decrypted(content: bytes, path: Path, key: str) -> bytes:
    if not key:
        raise UsageError(f"{path} is encrypted, and no key is given", "Give the key that it was trained with: -k KEY")
    try:
        return decrypt(content, key)
    except WrongKey as error:
        raise UsageError(f"The key doesn't open {path}: it is another one, or the file is damaged") from error
    except ValueError as error:
        raise RunError(f"{path} is cut short ({error})") from error


def _metadata(content: bytes) -> dict[str, str]:
    """The text of a sound safetensors file; its own library gives that of files on disk only."""
    length = int.from_bytes(content[:8], "little")
    return dict(json.loads(content[8 : 8 + length]).get("__metadata__", {}))


def _others(folder: Path) -> str:
    """The models of a folder."""
    names = sorted(path.name for path in folder.glob("*") if path.suffix in SUFFIXES)
    if not names:
        return f"There are no models in {folder}"
    return f"{folder} holds {', '.join(names[-3:])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
