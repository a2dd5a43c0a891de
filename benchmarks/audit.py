"""Speed of the audit: pictures a second against a loop of perceptual hashes, interleaved in one run.

    python -m benchmarks.audit --data FOLDER --whole FOLDER --json benchmarks/results/audit.json

The peer is what people write to find duplicates: ``imagehash.phash`` of every file, which decodes with Pillow, in a
loop and in as many threads as the audit has. Where imagehash isn't installed, the loop decodes with Pillow and scales
to 64×64. The peers only hash; the audit decodes once and does all of its checks. ``--whole`` names a data set that is
audited once from beginning to end, its seconds being scaled to 6,000 pictures.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import in_sentences, interleaved, median_ratio, options, show, write_json
from benchmarks.sources import original_files
from xraycls.data.audit import audit
from xraycls.data.facts import picture_facts
from xraycls.data.processors import available_processors
from xraycls.data.source import read_source

_THOUSANDS = 6000


def main() -> None:
    """Run, print tables and write JSON."""
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--whole", type=Path, help="a data set to audit once")
    given = parser.parse_args()
    threads = given.threads or available_processors()
    with tempfile.TemporaryDirectory() as folder:
        data, _ = original_files(given.data, Path(folder))
        result = {"threads": threads, **compared(data, threads, given.rounds)}
        result["whole"] = whole(given.whole, threads) if given.whole else None
    write_json(given.json, result)
    report(result)


def compared(data: Path, threads: int, rounds: int) -> dict[str, Any]:
    """Pictures a second of the audit, of its decoding alone, and of the peers."""
    table = read_source(data)
    paths = [sample.path for sample in table]
    name, hashed = peer()
    in_threads = f"{name}, {threads} threads"
    runs: dict[str, Callable[[], int]] = {
        "audit": lambda: len(audit(table, threads=threads).table),
        "facts alone": lambda: len(picture_facts(table, threads=threads)),
        name: lambda: len([hashed(path) for path in paths]),
        in_threads: lambda: len(_threaded(hashed, paths, threads)),
    }
    rates = interleaved(runs, rounds, at_least=0.0)
    rows = [
        {
            "run": run,
            "images_per_second": float(np.median(rates[run])),
            "seconds_for_6000": _THOUSANDS / float(np.median(rates[run])),
            "times_peer": median_ratio(rates[run], rates[name]),
            "times_threaded_peer": median_ratio(rates[run], rates[in_threads]),
        }
        for run in runs
    ]
    return {"images": len(table), "rounds": rounds, "peer": name, "rows": rows}


def peer() -> tuple[str, Callable[[Path], Any]]:
    """The usual way to find duplicates, and its name."""
    if find_spec("imagehash"):
        import imagehash

        def hashed(path: Path) -> Any:
            with Image.open(path) as image:
                return imagehash.phash(image)

        return f"imagehash {imagehash.__version__} phash", hashed

    def scaled(path: Path) -> Any:
        with Image.open(path) as image:
            return np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BOX))

    return "Pillow, decoded and scaled to 64×64", scaled


def whole(data: Path, threads: int) -> dict[str, Any]:
    """One audit of a data set, reading included."""
    started = time.perf_counter()
    table = read_source(data)
    made = audit(table, threads=threads)
    seconds = time.perf_counter() - started
    return {
        "images": len(table),
        "seconds": seconds,
        "seconds_for_6000": seconds * _THOUSANDS / len(table),
        "findings": [finding.kind for finding in made.findings],
    }


def report(result: dict[str, Any]) -> None:
    """Print what was measured."""
    show(
        f"{result['images']} pictures, {result['threads']} threads, median of {result['rounds']} rounds",
        ("run", "images/s", "6,000 take", "× peer", "× peer in threads"),
        [
            (
                row["run"],
                f"{row['images_per_second']:,.0f}",
                f"{row['seconds_for_6000']:.0f} s",
                f"{row['times_peer']:.2f}",
                f"{row['times_threaded_peer']:.2f}",
            )
            for row in result["rows"]
        ],
    )
    if result["whole"]:
        print(f"A whole data set of {result['whole']['images']:,} pictures took {result['whole']['seconds']:.0f} s.")


def _threaded(hashed: Callable[[Path], Any], paths: list[Path], threads: int) -> list[Any]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(hashed, paths))


if __name__ == "__main__":
    in_sentences(main)
