"""Loader speed beside everything that people would use instead, one run, one table.

    python -m benchmarks.peers --data FOLDER --environments /tmp/peers --json benchmarks/results/peers.json --docs

Every peer gets an environment of its own in the folder ``--environments``, made once from the versions of
``benchmarks/peers/environments.toml``; its licence stands there, too. By default the environments find torch and
what else they need in the one that runs this, so that a peer takes a few MB; ``--own-torch`` installs everything
(some 5 GB each, and versions of torch may differ). Nothing of a peer enters xraycls.

Every measurement has a fresh process, forked from one that has imported the library: nothing is decoded and no worker
started. Its first epoch is cold, later ones are steady. In each round all pipelines take turns, for batches of
normalised float32 and of uint8 grey levels, 224 × 224, with the ancestor's augmentation (flips ½, rotation ±25°, area
0.4–1, aspect 0.5–1.5). Every library draws it in its cheapest order (on whole radiographs the crop comes first),
pictures are grey wherever the library allows, and what brings no augmentation of its own gets the hand-written warp:
peers stand here as fast as we could make them. What has no rotation (ffcv) or no such area (MONAI: one affine that
scales and shifts) draws what comes nearest.

Processor time counts workers, too; on a machine with other work it says more than the clock. Memory is what the
imports take, torch included, what the process took at most beside them, and what its workers have for themselves.
Disk is what was written beside the files. A peer that can't be installed or run is a row "not measured" with the
reason.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks.common import in_sentences, options, show, write_json
from benchmarks.peers.measure import Setup, measured
from benchmarks.peers.pipelines import PIPELINES
from benchmarks.peers.report import COMPACT, COMPLETE, bars, rows, seed_of, table, update_documents
from benchmarks.peers.task import KEPT
from benchmarks.sources import links_to_files, original_files
from xraycls.data.source import read_table
from xraycls.errors import UsageError


def main() -> None:
    """Measure, print the table and the bars, and write JSON and Markdown."""
    parser = options(__doc__)
    parser.add_argument("--environments", type=Path, default=Path("build/peers"), help="folder of the environments")
    parser.add_argument("--own-torch", action="store_true", help="install torch in every environment")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"pipelines, of: {'; '.join(PIPELINES)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=240, help="an epoch, by links to the files")
    parser.add_argument("--batch-size", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a steady measurement; at least one epoch")
    parser.add_argument("--markdown", type=Path, help="write the complete table here")
    parser.add_argument("--docs", action="store_true", help="put the tables into README.md and docs/benchmarks.md")
    parser.add_argument("--again", type=Path, metavar="JSON", help="measure nothing; report what an earlier run wrote")
    parser.set_defaults(threads=2)
    given = parser.parse_args()
    names = given.only or list(PIPELINES)
    if unknown := [name for name in names if name not in PIPELINES]:
        raise UsageError(f"There is no pipeline {unknown[0]!r}", f"Take one of: {'; '.join(PIPELINES)}")
    if given.again:
        result = json.loads(given.again.read_text())
    else:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            _, files = original_files(given.data, work)
            data = links_to_files(files, work / "films", given.images)
            setup = Setup(
                data=data,
                files=tuple(sample.path for sample in read_table(data)),
                work=work,
                environments=given.environments.resolve(),
                own_torch=given.own_torch,
                batch_size=given.batch_size,
                workers=given.threads,
                rounds=given.rounds,
                at_least=given.seconds,
            )
            found, missing = measured(names, setup)
        facts = {name: getattr(given, name) for name in ("images", "batch_size", "threads", "rounds", "own_torch")}
        result = {"files": len(files), **facts, "pipelines": found, "not_measured": missing}
        write_json(given.json, result)
    lines = rows(result)
    cells = [COMPACT.cells(row, seed_of(lines)) for row in lines]
    show(f"{result['files']} files, epochs of {result['images']}, pictures a second", list(COMPACT), cells)
    sentences = bars(lines, result["images"] * KEPT**2)
    print("\n".join(sentences))
    if given.markdown:
        given.markdown.write_text(table(lines, COMPLETE))
    if given.docs:
        update_documents(lines, result, sentences)


if __name__ == "__main__":
    in_sentences(main)
