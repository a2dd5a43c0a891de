"""Weights of chest X-ray networks that others published: what each is of, and where its file lies or comes from.

Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xraycls.errors import WeightsError, unknown

PREFIX = "xrv:"
"""What the names of torchxrayvision's weights begin with."""

CACHE = Path("~", ".torchxrayvision", "models_data")
"""Where torchxrayvision keeps the files that it downloaded."""

LICENCE = "Apache-2.0 (of its repository)"
"""Of torchxrayvision; the data sets that its networks learned from have terms of their own."""

SEE_SOURCE = "see source"

_RELEASE = "https://github.com/mlmed/torchxrayvision/releases/download/v1/"

# The outputs of torchxrayvision's networks in their order; those that no training image told are random.
_OUTPUTS = (
    "Atelectasis Consolidation Infiltration Pneumothorax Edema Emphysema Fibrosis Effusion Pneumonia "
    "Pleural_Thickening Cardiomegaly Nodule Mass Hernia Lung_Lesion Fracture Lung_Opacity Enlarged_Cardiomediastinum"
).split()
_OF_NIH = frozenset(_OUTPUTS[:14])
_OF_CHEXPERT = frozenset(
    "Atelectasis Consolidation Pneumothorax Edema Effusion Pneumonia Cardiomegaly Lung_Lesion Fracture Lung_Opacity "
    "Enlarged_Cardiomediastinum".split()
)


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """Weights that a name of ours means.

    Attributes:
        name: for ``--weights``, such as "xrv:densenet121-res224-nih".
        base_model: the architecture that they are of, as :func:`xraycls.models.zoo.find` knows it.
        trained_on: data sets, in words.
        url: of the file.
        findings: what each output of the head tells, in their order; empty text for outputs that weren't trained.
    """

    name: str
    base_model: str
    trained_on: str
    url: str
    findings: tuple[str, ...]

    @property
    def file(self) -> str:
        """The name of the file."""
        return self.url.rpartition("/")[2]


def _densenet(name: str, file: str, trained_on: str, told: frozenset[str] | set[str]) -> PublishedWeights:
    return PublishedWeights(
        f"{PREFIX}densenet121-res224-{name}",
        f"{PREFIX}densenet121",
        trained_on,
        f"{_RELEASE}{file}-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt",
        tuple(output if output in told else "" for output in _OUTPUTS),
    )


@dataclass(frozen=True, slots=True)
class KnownFile:
    """Weights of others that ``--weights`` takes as a file, recognised by the names of their layers, or from the hub.

    Attributes:
        name: of the project, or of what its files have in common.
        base_models: architectures that there are such files of.
        licence: of the weights, where their source states one.
        source: where they are described.
        hub: name in the Hugging Face hub, which ``--weights`` takes, too; empty where there is none of its layout.
    """

    name: str
    base_models: tuple[str, ...]
    licence: str
    source: str
    hub: str = ""

    @property
    def weights(self) -> str:
        """What is given to ``--weights``, in words."""
        return f"{self.hub}, or a file of {self.name}" if self.hub else f"a file of {self.name}"


KNOWN_FILES = (
    KnownFile("CheXNet", ("torchvision:densenet121",), SEE_SOURCE, "https://github.com/arnoweng/CheXNet"),
    KnownFile(
        "RadImageNet",
        ("resnet50", "torchvision:densenet121", "inception"),
        "MIT",
        "https://huggingface.co/Lab-Rasool/RadImageNet",
    ),
    KnownFile(
        "MoCo-CXR", ("resnet18", "torchvision:densenet121"), SEE_SOURCE, "https://github.com/stanfordmlgroup/MoCo-CXR"
    ),
    KnownFile(
        "RAD-DINO",
        ("timm:vit_base_patch14_dinov2",),
        "MIT, for research",
        "https://huggingface.co/microsoft/rad-dino",
        "hf-hub:microsoft/rad-dino",
    ),
    KnownFile(
        "MedCLIP, of its ResNet50", ("resnet50",), "MIT (of its repository)", "https://github.com/RyanWangZf/MedCLIP"
    ),
    KnownFile(
        "BiomedCLIP",
        ("timm:vit_base_patch16_224",),
        "MIT, for research",
        "https://huggingface.co/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        "hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
    ),
)

_EVERY = "NIH, PadChest, CheXpert, MIMIC-CXR, Open-i, RSNA"
# Outputs of the ResNet that none of its data sets tells: torchxrayvision has no operating thresholds for them.
_UNTOLD = {"Lung_Lesion", "Enlarged_Cardiomediastinum"}

PUBLISHED: dict[str, PublishedWeights] = {
    weights.name: weights
    for weights in (
        _densenet("all", "nih-pc-chex-mimic_ch-google-openi-kaggle", _EVERY, set(_OUTPUTS)),
        _densenet("nih", "nih", "NIH ChestX-ray14", _OF_NIH),
        _densenet("pc", "pc", "PadChest", _OF_NIH | {"Fracture"}),
        _densenet("chex", "chex", "CheXpert", _OF_CHEXPERT),
        _densenet("mimic_nb", "mimic_nb", "MIMIC-CXR, labels of NegBio", _OF_CHEXPERT),
        _densenet("mimic_ch", "mimic_ch", "MIMIC-CXR, labels of CheXpert", _OF_CHEXPERT),
        _densenet("rsna", "kaggle", "RSNA Pneumonia Challenge", {"Pneumonia", "Lung_Opacity"}),
        PublishedWeights(
            f"{PREFIX}resnet50-res512-all",
            f"{PREFIX}resnet50",
            "PadChest, NIH, RSNA, SIIM, VinDr",
            f"{_RELEASE}pc-nih-rsna-siim-vin-resnet50-test512-e400-state.pt",
            tuple("" if output in _UNTOLD else output for output in _OUTPUTS),
        ),
    )
}
"""By name; after torchxrayvision's own table of its models (Cohen et al., MIDL 2022)."""

_BY_FILE = {weights.file: weights for weights in PUBLISHED.values()}


def published(source: str | Path) -> PublishedWeights | None:
    """The published weights that a name means; None for what isn't a name of such.

    Raises:
        UsageError: there are none of that name.

    Example:
        >>> published("xrv:densenet121-res224-rsna").base_model
        'xrv:densenet121'
    """
    name = str(source).lower()
    if not name.startswith(PREFIX):
        return None
    if name not in PUBLISHED:
        raise unknown("weights", str(source), PUBLISHED, "--weights")
    return PUBLISHED[name]


def of_file(path: Path) -> PublishedWeights | None:
    """The published weights that a file holds, by its name; None where it is called otherwise."""
    return _BY_FILE.get(path.name)


def local_file(weights: PublishedWeights) -> Path:
    """Where the file of published weights lies on this machine.

    Raises:
        WeightsError: it isn't here; nothing is downloaded.
    """
    path = CACHE.expanduser() / weights.file
    if not path.is_file():
        raise WeightsError(
            f"The weights {weights.name} are not on this machine",
            f"Download {weights.url} to {path.parent}, or anywhere and give the file to --weights with "
            f"--base-model {weights.base_model}",
        )
    return path
