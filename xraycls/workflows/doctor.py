"""What this machine has, for `xraycls doctor` and for bug reports."""

from __future__ import annotations

import platform
import shutil

from xraycls.training.run_folder import installed
from xraycls.version import __version__

_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "opencv-python-headless",
    "pillow",
    "numpy",
    "scikit-learn",
    "grad-cam",
    "pydicom",
)
_DALI = ("nvidia-dali-cuda130", "nvidia-dali-cuda120")
_CODECS = ("pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "python-gdcm")


def examine() -> dict[str, dict[str, str]]:
    """Facts by heading: name → value, all text."""
    return {
        "Versions": {"xraycls": __version__, "python": platform.python_version(), **installed(_PACKAGES)},
        "Compute": _compute(),
        "Image codecs": _image_codecs(),
        "DICOM codecs": installed(_CODECS),
        "Caches and disk": _storage(),
    }


def _compute() -> dict[str, str]:
    import torch

    from xraycls.data.processors import available_processors
    from xraycls.training.precision import choose_device, choose_precision

    device = choose_device()
    facts = {
        "device": str(device),
        "precision": f"{choose_precision('auto', device)} (auto)",
        "processors": str(available_processors()),
    }
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        facts[f"cuda:{index}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return facts | installed(_DALI)


def _image_codecs() -> dict[str, str]:
    """What OpenCV was built with, in its own words."""
    import cv2

    lines = (line.strip().partition(":") for line in cv2.getBuildInformation().splitlines())
    wanted = ("JPEG", "PNG", "TIFF", "JPEG 2000", "WEBP", "AVIF")
    return {name.strip(): value.strip() for name, _, value in lines if name.strip() in wanted and value.strip()}


def _storage() -> dict[str, str]:
    from xraycls.data.cache import cache_folder
    from xraycls.models.pretrained import weights_folder

    weights = weights_folder()
    files = sorted(weights.glob("*.pth")) if weights.is_dir() else []
    return {
        "phantom cache": str(cache_folder()),
        "weights cache": f"{weights} ({len(files)} files)",
        "free disk here": f"{shutil.disk_usage('.').free / 2**30:.0f} GiB",
    }
