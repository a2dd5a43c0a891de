"""What a prediction's start costs: CPU seconds of programs that predict one picture, beside those of an older revision.

    python -m benchmarks.startup --before REVISION --json benchmarks/results/startup.json

Each program is a new process of `xraycls`, with random weights. The older revision is checked out beside this one and
reads the same files, except exported ones. Programs take turns, so that a change of the machine hits all alike.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import xraycls
from benchmarks.common import in_sentences, show, write_json
from xraycls.data.phantom import write_phantom
from xraycls.errors import UsageError
from xraycls.models.classifier import build_classifier, save_classifier
from xraycls.models.detection.files import save_detector
from xraycls.models.detection.registry import build_detector
from xraycls.models.detection.ssd import SSDConfig

ROOT = Path(__file__).parents[1]
CLASSIFIER, DETECTOR, EXPORTED = "resnet18.safetensors", "ssd.safetensors", "exported"
OF_EXPORTED = "xraycls predict, ResNet18, exported"


def main() -> None:
    """Run, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", metavar="REVISION", help="an older revision of this checkout to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", metavar="TEXT", help="programs whose name holds this, such as ResNet18")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        checkouts = _checkouts(Path(name, "before"), given.before)
        programs = {way: call for way, call in _programs(Path(name)).items() if given.only in way}
        spent: dict[tuple[str, str], list[float]] = {
            (way, when): [] for way in programs for when in checkouts if (way, when) != (OF_EXPORTED, "before")
        }
        for counted in (False, *[True] * given.rounds):
            for way, when in spent:
                seconds = cpu_seconds([sys.executable, *programs[way]], checkouts[when], Path(name))
                if counted:  # the first round compiles
                    spent[way, when].append(seconds)
    middle = {key: statistics.median(values) for key, values in spent.items()}
    cells = {key: f"{value:.2f}" for key, value in middle.items()}
    rows = [[way, *(cells.get((way, when), "-") for when in checkouts), _share(way, middle)] for way in programs]
    show("CPU seconds, median", ["program", *checkouts, "now ÷ before"], rows)
    found = [{"program": way, "checkout": when, "cpu_seconds": values} for (way, when), values in spent.items()]
    write_json(given.json, {"before": given.before, "programs": found})


def cpu_seconds(command: list[str], checkout: Path, folder: Path) -> float:
    """CPU seconds, user and system, of a program that imports xraycls from a checkout and works in a folder.

    Modules are compiled once and kept, in a folder of this benchmark, as those of an installed package are.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"PYTHONPATH": str(checkout), "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _programs(folder: Path) -> dict[str, list[str]]:
    """The arguments of Python by what they do, and in the folder the files that they read."""
    write_phantom(folder / "data", images=6, size=256)
    film = str(next((folder / "data").rglob("*.jp*g")))
    save_classifier(build_classifier("resnet18", ("NORMAL", "PNEUMONIA"), weights="none")[0], folder / CLASSIFIER)
    xraycls.export_model(folder / CLASSIFIER, folder / EXPORTED)
    save_detector(
        build_detector(SSDConfig(backbone="resnet18", classes=("opacity",), height=256, width=256)), folder / DETECTOR
    )
    return {
        "import torch": ["-c", "import torch"],
        "xraycls predict, ResNet18": ["-m", "xraycls", "predict", CLASSIFIER, film],
        OF_EXPORTED: ["-m", "xraycls", "predict", EXPORTED, film],
        "xraycls detector detect, SSD": ["-m", "xraycls", "detector", "detect", DETECTOR, film],
    }


def _checkouts(folder: Path, revision: str | None) -> dict[str, Path]:
    """This checkout and, where a revision is given, that one, which is put into a folder."""
    if revision is None:
        return {"now": ROOT}
    done = subprocess.run(["git", "-C", str(ROOT), "archive", revision], capture_output=True, check=False)
    if done.returncode:
        raise UsageError(f"git can't give the files of {revision}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return {"before": folder, "now": ROOT}


def _share(way: str, middle: dict[tuple[str, str], float]) -> str:
    return f"{middle[way, 'now'] / middle[way, 'before']:.2f}" if (way, "before") in middle else "-"


if __name__ == "__main__":
    in_sentences(main)
