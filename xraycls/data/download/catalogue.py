"""The data sets that can be downloaded, and what there is to know of each beforehand."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xraycls.errors import unknown

_GB = 10**9


@dataclass(frozen=True, slots=True)
class Source:
    """A data set on Kaggle.

    Attributes:
        name: what the command line calls it.
        title: what Kaggle calls it.
        kind: a data set anyone signed in may have, or a competition whose rules have to be accepted first.
        reference: Kaggle's name: ``owner/slug`` of a data set, the slug of a competition.
        archive_bytes: about what there is to download.
        unpacked_bytes: about what it takes on the disk afterwards.
        licence: the terms, in words.
        next_step: the command that makes use of it; ``{folder}`` stands for the folder it went to.
    """

    name: str
    title: str
    kind: Literal["dataset", "competition"]
    reference: str
    archive_bytes: int
    unpacked_bytes: int
    licence: str
    next_step: str

    @property
    def slug(self) -> str:
        """The last part of Kaggle's name: the archive is called after it."""
        return self.reference.rpartition("/")[2]

    @property
    def page(self) -> str:
        """The address for people."""
        return f"https://www.kaggle.com/{self.kind}s/{self.reference}"

    def next_command(self, folder: Path) -> str:
        """What to type next, with the folder in place."""
        # Quoted as one word: a folder with a space in its name would end up as half a path.
        return " ".join(
            shlex.quote(word.format(folder=folder)) if "{" in word else word for word in self.next_step.split()
        )


_SOURCES = (
    Source(
        "coronahack",
        "CoronaHack: chest X-ray dataset",
        "dataset",
        "praveengovi/coronahack-chest-xraydataset",
        archive_bytes=1_280_000_000,
        unpacked_bytes=1_300_000_000,
        licence="CC BY 4.0 for most pictures; the page names the sources",
        next_step="xraycls data arrange coronahack {folder} {folder}-arranged",
    ),
    Source(
        "kermany",
        "Chest X-ray images (pneumonia)",
        "dataset",
        "paultimothymooney/chest-xray-pneumonia",
        archive_bytes=2_470_000_000,
        unpacked_bytes=2_500_000_000,
        licence="CC BY 4.0",
        next_step="xraycls train --data {folder}/chest_xray",
    ),
    Source(
        "rsna",
        "RSNA Pneumonia Detection Challenge",
        "competition",
        "rsna-pneumonia-detection-challenge",
        archive_bytes=4 * _GB,
        unpacked_bytes=4 * _GB,
        licence="the competition's rules",
        next_step="xraycls data rsna-features {folder} --output {folder}",
    ),
    Source(
        "siim",
        "SIIM-FISABIO-RSNA COVID-19 Detection",
        "competition",
        "siim-covid19-detection",
        archive_bytes=83 * _GB,
        unpacked_bytes=83 * _GB,
        licence="the competition's rules",
        next_step="xraycls data siim2kitti -l {folder}/train_image_level.csv -t {folder}/train --px 512 "
        "--kf {folder}-kitti",
    ),
)

CATALOGUE: dict[str, Source] = {source.name: source for source in _SOURCES}


def source_named(name: str) -> Source:
    """Look a data set up, whatever the case of its name.

    Raises:
        UsageError: no such name; the nearest ones are in the hint.
    """
    if name.lower() not in CATALOGUE:
        raise unknown("data set", name, CATALOGUE)
    return CATALOGUE[name.lower()]
