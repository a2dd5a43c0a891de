"""The whole campaign, as ``make torture`` runs it: every kill of every writer, 100,000 damaged files for the readers.

python -m tests.robustness [--inputs 100000] [--kills N] [--only NAME] [--seed 0]
"""

import argparse
import logging
import resource
import sys
import tempfile
from pathlib import Path

from tests.robustness.fuzz import fuzz
from tests.robustness.kills import kill_everywhere
from tests.robustness.readers import all_readers
from tests.robustness.writers import all_writers


def main() -> int:
    """Print a table of all that was tried; returns 1 where anything was bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="damaged files in all; 0 for no readers")
    parser.add_argument("--kills", type=int, help="of each writer; all instants by default, 0 for no writers")
    parser.add_argument("--only", default="", help="readers and writers whose name holds this")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        bad = _kills(Path(folder, "writers"), given) if given.kills != 0 else 0
        bad += _fuzz(Path(folder, "readers"), given) if given.inputs else 0
    return 1 if bad else 0


def _kills(folder: Path, given: argparse.Namespace) -> int:
    logging.disable(logging.CRITICAL)  # what writers say while their folders are prepared
    sources = folder / "sources"
    sources.mkdir(parents=True)
    rows, bad = [], 0
    print(f"{'writer':28}{'instants':>9}{'kills':>9}{'bad':>6}{'CPU s':>8}", flush=True)
    for writer in all_writers(sources):
        if given.only not in writer.name:
            continue
        started, own = _seconds(), folder / writer.name.replace(" ", "-")
        own.mkdir()
        found = kill_everywhere(writer, own, given.kills, given.seed)
        rows.append(found)
        bad += len(found.bad)
        figures = f"{found.instants:>9,}{found.kills:>9,}{len(found.bad):>6}{_seconds() - started:>8.1f}"
        print(f"{writer.name:28}{figures}", *found.bad[:5], sep="\n    ", flush=True)
    print(f"{'all writers':28}{sum(r.instants for r in rows):>9,}{sum(r.kills for r in rows):>9,}{bad:>6}", flush=True)
    return bad


def _fuzz(folder: Path, given: argparse.Namespace) -> int:
    folder.mkdir()
    readers = [reader for reader in all_readers(folder) if given.only in reader.name]
    whole, inputs, bad = sum(reader.weight for reader in readers), 0, 0
    print(f"\n{'reader':28}{'inputs':>9}{'read':>9}{'refused':>9}{'bad':>6}{'CPU s':>8}", flush=True)
    for reader in readers:
        started = _seconds()
        counts = fuzz(reader, max(round(given.inputs * reader.weight / whole), 1), given.seed)
        found = sum(counts.bad.values())
        inputs, bad = inputs + counts.inputs, bad + found
        figures = f"{counts.inputs:>9,}{counts.read:>9,}{counts.refused:>9,}{found:>6}{_seconds() - started:>8.1f}"
        kinds = [f"{count} × {what} ({counts.examples[what]})" for what, count in counts.bad.most_common(12)]
        print(f"{reader.name:28}{figures}", *kinds, sep="\n    ", flush=True)
    print(f"{'all readers':28}{inputs:>9,}{'':18}{bad:>6}", flush=True)
    return bad


def _seconds() -> float:
    """CPU time of this process and its children."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in usage)


if __name__ == "__main__":
    sys.exit(main())
