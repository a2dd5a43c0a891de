"""A run folder: where everything of one training lies, written so that a kill at any instant leaves a loadable run."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from xraycls.data.files import atomic_write, readable_name
from xraycls.data.rows import read_rows, write_rows
from xraycls.data.table import SampleTable
from xraycls.errors import RunError
from xraycls.training.config import TrainConfig, read_config
from xraycls.version import __version__

RUNS = Path("runs")

DETECTOR_MARK = ("kind", "detector")
"""The first field of a detector's config.yaml, and its value."""


class RunFacts(BaseModel):
    """What ``environment.json`` tells of a run for those that go on with it; the rest of it is for people.

    Attributes:
        engine: that gave the pictures; None when unknown, as are the others.
        dataset: fingerprint of the images and labels.
        classes: in the order of the outputs.
        processes: that trained together.
    """

    model_config = ConfigDict(frozen=True)

    engine: str | None = None
    dataset: str | None = None
    classes: tuple[str, ...] = ()
    processes: int | None = None


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one run.

    ``config.yaml``, ``samples.csv``, ``environment.json``, ``metrics.csv``, ``events.*`` (TensorBoard),
    ``checkpoints/{best,last}.safetensors`` (weights for use) and ``checkpoints/last.pt`` (all that resuming needs).
    """

    path: Path

    @property
    def config(self) -> Path:
        """The settings of the run; ``--config`` runs it again."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """A row an epoch."""
        return self.path / "metrics.csv"

    @property
    def samples(self) -> Path:
        """Which image is in which split."""
        return self.path / "samples.csv"

    @property
    def environment(self) -> Path:
        """Versions, machine and what tells this run from another."""
        return self.path / "environment.json"

    @property
    def best(self) -> Path:
        """Weights of the best epoch."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def last(self) -> Path:
        """Weights of the last epoch."""
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def state(self) -> Path:
        """The training state to resume from."""
        return self.path / "checkpoints" / "last.pt"

    def fold(self, number: int) -> RunFolder:
        """The run of a fold, counted from 0, where this is the folder of several."""
        return RunFolder(self.path / f"fold-{number + 1}")

    def holds_model(self) -> bool:
        """Whether there is anything that took training: weights, or the state to go on with."""
        return any(path.is_file() for path in (self.state, self.best, self.last))

    def exists(self) -> bool:
        """Whether the run of a classifier has been started here."""
        return self.config.is_file() and not _has_mark(self.config)

    def is_of_detector(self) -> bool:
        """Whether a detector's training or another command for detectors has written here.

        Their config.yaml begins with a mark. Folders of earlier versions have TAO's status.json and no config.yaml.
        """
        return _has_mark(self.config) if self.config.is_file() else (self.path / "status.json").is_file()

    def read_config(self) -> TrainConfig:
        """The settings of the run; raises RunError when there is no run here."""
        if not self.exists():
            raise RunError(f"{self.path} is not a run folder: it holds no config.yaml")
        # Runs of versions that knew one label an image alone don't name the task.
        return TrainConfig.model_validate({"task": "single", **read_config(self.config)})

    def read_metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.csv so far; raises RunError when the file is damaged."""
        try:
            rows = read_rows(self.metrics) if self.metrics.is_file() else []
            return [{name: float(value or "nan") for name, value in row.items()} for row in rows]
        except ValueError as error:
            raise _damaged(self.metrics, error) from error

    def write_metrics(self, rows: list[dict[str, float]]) -> None:
        """Write all rows of metrics.csv; NaN becomes an empty cell."""
        fullest = max(rows, key=len, default={"epoch": 0.0})  # an epoch without validation has fewer figures
        names = list(fullest)
        write_rows(self.metrics, names, [[_number(row.get(name, math.nan)) for name in names] for row in rows])

    def write_samples(self, table: SampleTable) -> None:
        """Write which image is in which split."""
        rows = []
        for s in table:
            label = "" if s.label is None else table.classes[s.label]
            if table.findings:
                label = "|".join(name for name, value in zip(table.findings, s.findings, strict=True) if value == 1)
            rows.append([readable_name(table.origin_of(s)), label, s.split or "", s.patient or ""])
        write_rows(self.samples, ["path", "label", "split", "patient"], rows)

    def read_samples(self) -> dict[str, str]:
        """Image → its split; raises RunError when the file is damaged."""
        try:
            rows = read_rows(self.samples) if self.samples.is_file() else []
            return {row["path"]: row["split"] for row in rows}
        except (ValueError, LookupError) as error:
            raise _damaged(self.samples, error) from error

    def read_environment(self) -> RunFacts:
        """What :meth:`write_environment` wrote; empty when a kill came before it.

        Raises:
            RunError: the file is damaged.
        """
        if not self.environment.is_file():
            return RunFacts()
        try:
            return RunFacts.model_validate_json(self.environment.read_bytes())
        except (OSError, ValueError) as error:
            raise _damaged(self.environment, error) from error

    def write_environment(self, extra: Mapping[str, Any]) -> None:
        """Write versions, machine and what else tells this run from another."""
        facts = environment() | dict(extra)
        with atomic_write(self.environment) as temporary:
            temporary.write_text(json.dumps(facts, indent=2) + "\n")


def _damaged(path: Path, error: Exception) -> RunError:
    first = next(iter(str(error).splitlines()), type(error).__name__)
    return RunError(f"{path} is damaged ({first})", "Restore it from a copy, or start a new run in another folder")


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def new_run(model: str, root: Path = RUNS) -> RunFolder:
    """A folder that isn't taken: ``runs/<model>-<date>-<time>``, with dashes for what a path can't hold."""
    stem = f"{safe_name(model)}-{time.strftime('%Y%m%d-%H%M%S')}"
    candidates = (root / (stem if i == 0 else f"{stem}-{i}") for i in range(1000))
    return RunFolder(next(path for path in candidates if not path.exists()))


def _has_mark(config: Path) -> bool:
    try:
        with config.open(encoding="utf-8") as file:
            return file.readline().rstrip() == ": ".join(DETECTOR_MARK)
    except (OSError, UnicodeDecodeError):
        return False


def safe_name(model: str) -> str:
    """A model's name as part of a file name: ``timm:convnext_atto`` becomes ``timm-convnext_atto``."""
    return model.replace(":", "-").replace("/", "-")


def find_runs(root: Path = RUNS) -> list[RunFolder]:
    """The run folders of classifiers below ``root``, newest first."""
    if not root.is_dir():
        return []
    runs = [run for run in map(RunFolder, root.iterdir()) if run.exists()]
    return sorted(runs, key=lambda run: (run.config.stat().st_mtime, run.path.name), reverse=True)


def environment() -> dict[str, Any]:
    """Versions and machine."""
    from xraycls.loaders.kernels import IS_COMPILED  # with OpenCV, which few readers of a run folder need

    packages = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "scikit-learn")
    return {
        "xraycls": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "packages": installed(packages),
        "kernels": "compiled" if IS_COMPILED else "OpenCV and NumPy",
    }


def installed(packages: Iterable[str]) -> dict[str, str]:
    """The version of each package, or "not installed"."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
