"""The other side of the benchmark of mosaics: epochs of the ultralytics package, asked for by lines on standard input.

It runs in a process of its own with the package's folder on its path, see ``benchmarks.mosaic``, and imports nothing
of xraycls: ultralytics is under the AGPL, and only a peer to measure against.

    python mosaic_peer.py FOLDER SIZE BATCH WORKERS CACHE

FOLDER holds ``images/`` and ``labels/`` as YOLO has them; CACHE is "no" or "ram", as the package has it. For every line
it goes through the pictures once and prints their number and the processor seconds that it took. The augmentation is
the package's default with a mosaic in every sample. Between two epochs its workers are stopped: they would go on
preparing batches of the next one, which then would cost nothing, while others are measured.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

FOLDER, SIZE, BATCH, WORKERS = Path(sys.argv[1]), *map(int, sys.argv[2:5])
CACHE = False if sys.argv[5] == "no" else sys.argv[5]


def main() -> None:
    """Answer lines until there are no more."""
    from ultralytics.cfg import get_cfg
    from ultralytics.data.build import build_dataloader
    from ultralytics.data.dataset import YOLODataset

    dataset = YOLODataset(
        img_path=str(FOLDER / "images"),
        imgsz=SIZE,
        augment=True,
        hyp=get_cfg(overrides={"mosaic": 1.0, "imgsz": SIZE}),
        batch_size=BATCH,
        cache=CACHE,
        data={"names": {0: "object"}, "nc": 1, "channels": 3},
        task="detect",
    )
    loader = build_dataloader(dataset, BATCH, WORKERS, shuffle=True)
    print("ready", flush=True)
    for _ in sys.stdin:
        before = _processor_seconds()
        _send_workers(signal.SIGCONT)
        count = sum(len(batch["img"]) for batch in loader)
        _send_workers(signal.SIGSTOP)
        print(count, _processor_seconds() - before, flush=True)
    _send_workers(signal.SIGCONT)


def _send_workers(what: signal.Signals) -> None:
    import psutil

    for each in psutil.Process().children(recursive=True):
        each.send_signal(what)


def _processor_seconds() -> float:
    """Of this process and its workers, so far."""
    import psutil

    process = psutil.Process()
    times = (each.cpu_times() for each in (process, *process.children(recursive=True)))
    return sum(each.user + each.system for each in times)


if __name__ == "__main__":
    main()
