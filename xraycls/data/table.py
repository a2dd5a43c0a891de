"""The table of samples: what every data source becomes and every later stage reads."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xraycls.types import PIXELS, SPLITS, Sample, Split


@dataclass(frozen=True)
class SampleTable:
    """Samples and the names of their classes.

    Attributes:
        samples: one a picture, in a fixed order (sorted by name within the source).
        classes: class names; ``Sample.label`` is an index into them. For two classes the second is the positive one.
        root: the folder or file that the table was read from.
        source: which reader made it: "folder", "csv", "medmnist", "prepared", "files", "phantom" or the name of a
            format.
        content: a hash of all pixels, where the source keeps one.
        origin: of a prepared store, where the source lay that it was made from.
        findings: names of findings of which an image may show several; ``Sample.findings`` has a value for each. Empty
            where the source tells one label an image.
    """

    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    root: Path
    source: str
    content: str = ""
    origin: Path | None = None
    findings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """int64 [n]; -1 where unknown."""
        return np.array([-1 if s.label is None else s.label for s in self.samples], dtype=np.int64)

    @property
    def targets(self) -> npt.NDArray[np.float32]:
        """float32 [n, F]: 1 present, 0 absent, ``UNCERTAIN``, NaN unknown; F is 0 for a table of single labels."""
        values = np.array([s.findings for s in self.samples] if self.findings else (), np.float32)
        return values.reshape(len(self.samples), len(self.findings))

    @property
    def outputs(self) -> tuple[str, ...]:
        """What a classifier of this table tells apart: the findings where there are several an image, else classes."""
        return self.findings or self.classes

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that hold at least one sample, in the order train, val, test."""
        present = {s.split for s in self.samples}
        return tuple(name for name in SPLITS if name in present)

    def split(self, name: Split) -> SampleTable:
        """The samples of one split, in the same order; empty when there are none."""
        return self.with_samples(s for s in self.samples if s.split == name)

    def with_samples(self, samples: Iterable[Sample]) -> SampleTable:
        """The same table with other samples."""
        return replace(self, samples=tuple(samples))

    def single_label(self) -> SampleTable:
        """The same table with one label an image alone."""
        if not self.findings:
            return self
        return replace(self, findings=(), samples=tuple(replace(s, findings=()) for s in self.samples))

    def labelled(self) -> SampleTable:
        """The samples of which a label is known, or at least one finding."""
        if self.findings:
            return self.with_samples(s for s in self.samples if any(value is not None for value in s.findings))
        return self.with_samples(s for s in self.samples if s.label is not None)

    def counts(self) -> dict[str, int]:
        """Images a class, in the order of ``classes``."""
        counter = Counter(s.label for s in self.samples)
        return {name: counter.get(index, 0) for index, name in enumerate(self.classes)}

    def name_of(self, sample: Sample) -> str:
        """A sample's name below the root: the same on every machine, and for a prepared picture that of its source."""
        if sample.path.name == PIXELS and sample.member is not None:
            return sample.member
        if sample.member is not None and sample.path.suffix != ".parquet":
            return f"{sample.member}[{sample.row}]"
        below = sample.path.as_posix().removeprefix(f"{self.root.as_posix()}/")  # much faster than relative_to
        return below if sample.member is None else f"{below}[{sample.row}]"  # a set has several shards

    def origin_of(self, sample: Sample) -> str:
        """What tells a picture from all others, prepared or not: the path of the file that it comes from."""
        return sample.name if self.origin is None else str(self.origin / self.name_of(sample))

    def fingerprint(self, *, boxes: bool = False) -> str:
        """A hash of names below the root, file sizes, labels and splits: tells two data sets apart, cheaply.

        It doesn't read pixels; it changes when a file is added, removed, relabelled or resized on disk, and with
        the pixels of a prepared store.

        Args:
            boxes: whether the boxes count as well.
        """
        digest = hashlib.sha256((repr(self.classes) + self.content).encode())
        if self.findings:
            digest.update(repr(self.findings).encode())
        sizes: dict[Path, int] = {}
        for s in self.samples:
            if s.path not in sizes:
                sizes[s.path] = s.path.stat().st_size if s.path.exists() else -1
            name = s.path.relative_to(self.root) if s.path.is_relative_to(self.root) else s.path
            digest.update(repr((name.as_posix(), sizes[s.path], s.member, s.row, s.label, s.split)).encode())
            if self.findings:
                digest.update(repr(s.findings).encode())
            if boxes:
                digest.update(repr(s.boxes).encode())
                if outlines := [box.outline for box in s.boxes if box.outline]:
                    digest.update(repr(outlines).encode())
        return digest.hexdigest()[:16]
