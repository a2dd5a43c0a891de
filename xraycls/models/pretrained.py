"""Fetching ImageNet weights through torchvision's and timm's own loaders and caches."""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import torch

from xraycls.errors import WeightsError
from xraycls.models.build import timm_options
from xraycls.models.published import PUBLISHED
from xraycls.models.zoo import Architecture

_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.")


def fetch_imagenet(architecture: Architecture, size: int) -> dict[str, torch.Tensor]:
    """The ImageNet weights of an architecture, from the cache or the network.

    Args:
        size: side of the input in pixels, for which timm resamples the position embeddings of transformers.

    Returns:
        The state dict of the network with its 1000-class head, on the CPU.

    Raises:
        WeightsError: there are none, they can't be reached, or the file isn't the one that its hash promises.
    """
    if architecture.weights is None:
        raise WeightsError(f"{architecture.name} has no ImageNet weights", _other_weights(architecture))
    if architecture.library == "timm":
        return _from_timm(architecture, size)
    return _from_torchvision(architecture, architecture.weights)


def _other_weights(architecture: Architecture) -> str:
    names = [weights.name for weights in PUBLISHED.values() if weights.base_model == architecture.name]
    return f"Use --weights {', '.join([*names, 'none'])} or a file"


def is_cached(architecture: Architecture) -> bool:
    """Whether the ImageNet weights of an architecture seem to lie in the cache already."""
    source = str(architecture.weights)
    if architecture.library != "timm" or source.startswith("http"):
        return (weights_folder() / source.rpartition("/")[2]).is_file()
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE, f"models--{source.replace('/', '--')}").is_dir()


def weights_folder() -> Path:
    """Where torchvision's files lie: ``checkpoints`` in torch's hub folder (``$TORCH_HOME/hub``)."""
    return Path(torch.hub.get_dir(), "checkpoints")


def _from_torchvision(architecture: Architecture, name: str) -> dict[str, torch.Tensor]:
    from xraycls.models.torchvision import models

    weights = next(w for w in models.get_model_weights(architecture.builder) if w.url.endswith(f"/{name}"))
    path = weights_folder() / name
    if path.exists():
        _check_hash(path)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch announces the download on stdout, where answers go
            return dict(weights.get_state_dict(progress=True, check_hash=True, weights_only=True))
    except OSError as error:
        raise WeightsError(
            f"The ImageNet weights of {architecture.name} can't be fetched ({first_sentence(error)})",
            f"Put {name} from {weights.url} into {path.parent}, or train from random weights with --weights none",
        ) from error
    except RuntimeError as error:
        raise WeightsError(f"{name} didn't arrive whole ({error})", "Try again, or use --weights none") from error


def _check_hash(path: Path) -> None:
    """torch checks the hash of what it downloads, but not of a file that was put into its cache by hand."""
    promised = _HASH_IN_NAME.search(path.name)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if promised and not digest.startswith(promised[1]):
        raise WeightsError(
            f"{path} is damaged or another file: its SHA-256 begins with {digest[:8]}, not {promised[1]}",
            "Delete it to fetch it again, or use --weights none",
        )


def _from_timm(architecture: Architecture, size: int) -> dict[str, torch.Tensor]:
    import timm
    from huggingface_hub import constants
    from timm.models import set_pretrained_check_hash, set_pretrained_download_progress

    set_pretrained_check_hash(True)
    set_pretrained_download_progress(True)
    reachable = True
    try:
        with _hub_client() as reachable:
            net = timm.create_model(architecture.builder, pretrained=True, **timm_options(architecture, size))
    except Exception as error:  # the errors of the hub, its HTTP client and safetensors share no base
        source = str(architecture.weights)
        url, file = f"{constants.ENDPOINT}/{source}", "model.safetensors"
        if source.startswith("http"):
            url, file = source, source.rpartition("/")[2]
        reason = first_sentence(error) if reachable else "the hub can't be reached"
        raise WeightsError(
            f"The ImageNet weights of {architecture.name} can't be fetched from {url} ({reason})",
            f"Download {file} from there and give it to --weights, or fill {constants.HF_HUB_CACHE} where there is "
            "internet, or train from random weights with --weights none",
        ) from error
    return dict(net.state_dict())


@contextlib.contextmanager
def _hub_client() -> Iterator[bool]:
    """Whether the hub is there: asked once, and its client told, which would retry for most of a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    try:
        constants.HF_HUB_OFFLINE = before or not is_reachable(constants.ENDPOINT)
        yield not constants.HF_HUB_OFFLINE
    finally:
        constants.HF_HUB_OFFLINE = before


def is_reachable(url: str) -> bool:
    """Whether anything answers there within five seconds."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5):
            return True
    except urllib.error.HTTPError:
        return True  # an answer, whatever it says
    except OSError:
        return False


def first_sentence(error: Exception) -> str:
    """The first sentence of what an error says; urllib wraps the system's own."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    text = inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner)
    return text.strip().splitlines()[0].split(". ")[0].rstrip(".") if text.strip() else type(error).__name__
