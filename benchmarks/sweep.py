"""What a sweep costs beside its trainings: five optimisers on phantoms, CPU seconds of all processes.

The same five trainings one after the other in one process, as a sweep with one trial at a time and with two, and with
``--backend ray`` where Ray is installed. Ray's daemons count, too: on Linux what a way leaves behind becomes a child of
this process. Run it with ``python -m benchmarks.sweep``; ``--films 48 --size 32 --epochs 1 --optimizers adam`` is a
quick try.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import psutil

from benchmarks.common import in_sentences, machine, options
from xraycls.data.phantom import write_phantom

OPTIMIZERS = "adam,adamw,adamax,sgd,adagrad"
_ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER
_LOOK = 0.1  # seconds between two looks at the processes, what of each can go uncounted

_IN_ONE_PROCESS = """
import json, sys, xraycls
output, settings = sys.argv[1], json.loads(sys.argv[2])
for optimizer in sys.argv[3].split(","):
    xraycls.train(output=f"{output}/trials/{optimizer}", optimizer=optimizer, **settings)
"""


def spent(command: list[str]) -> tuple[float, float]:
    """CPU seconds of a command with all that it starts, and seconds on the clock.

    Every process below this one is looked at, since Ray's raylet never waits for its workers, so that no parent's
    figure has theirs.
    """
    seen: dict[tuple[int, float], float] = {}
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while (code := process.poll()) is None or psutil.Process().children():
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                times = child.cpu_times()
                seen[child.pid, child.create_time()] = times.user + times.system
        if code is not None:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:  # what the command left behind ends by itself
                    pass
        time.sleep(_LOOK)
    if code:
        raise subprocess.CalledProcessError(code, command)
    return sum(seen.values()), time.perf_counter() - started


def best_loss(folder: Path) -> float:
    """The lowest validation loss of all run folders."""
    tables = [path.read_text().splitlines() for path in folder.glob("trials/*/metrics.csv")]
    return min(float(row.split(",")[table[0].split(",").index("val_loss")]) for table in tables for row in table[1:])


def main() -> None:
    """Print a row a way."""
    parser = options(__doc__)
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--optimizers", default=OPTIMIZERS)
    given = parser.parse_args()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_ADOPT_ORPHANS, 1)
    work = Path(tempfile.mkdtemp(prefix="xraycls-sweep-"))
    data = given.data or work / "phantom"
    if given.data is None:
        write_phantom(data, images=given.films, size=2 * given.size)
    settings = {"data": str(data), "weights": "none", "size": given.size, "epochs": given.epochs, "device": "cpu"}
    settings |= {"batch_size": 16, "threads": given.threads or 1}
    flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    sweep = [sys.executable, "-m", "xraycls", "--quiet", "sweep", "train", *flags, "--over"]
    sweep.append(f"optimizer={given.optimizers}")
    one = [sys.executable, "-c", _IN_ONE_PROCESS, str(work / "one"), json.dumps(settings), given.optimizers]
    ways = {
        "one process, one after the other": one,
        "sweep": [*sweep, "--output", str(work / "sweep")],
        "sweep --workers 2": [*sweep, "--workers", "2", "--output", str(work / "workers")],
    }
    if find_spec("ray"):
        ways["sweep --workers 2 --backend ray"] = [*sweep, *"--workers 2 --backend ray --output".split(), f"{work}/ray"]
    else:
        print("Ray isn't installed, so there is no row of it: pip install '.[ray]'")
    os.environ["OMP_NUM_THREADS"] = "1"
    folders = dict(zip(ways, ("one", "sweep", "workers", "ray"), strict=False))
    rows = {}
    for way, command in ways.items():
        cpu, wall = spent(command)
        rows[way] = {"cpu_seconds": cpu, "wall_seconds": wall, "best_loss": best_loss(work / folders[way])}
        print(f"{way:34} {cpu:7.1f} CPU s  {wall:7.1f} s  best val loss {rows[way]['best_loss']:.6g}", flush=True)
    if given.json:
        given.json.write_text(
            json.dumps({"machine": machine(), "settings": {**settings, "data": data.name}, "ways": rows}, indent=2)
        )
    shutil.rmtree(work)


if __name__ == "__main__":
    in_sentences(main)
