"""What the 95 % intervals of a report cost: CPU seconds for n predictions, beside scikit-learn on the same resamples.

    python -m benchmarks.figures                      # 100,000 and 400,000 predictions, 2,000 resamples
    python -m benchmarks.figures --cases 10000 --resamples 200
    python -m benchmarks.figures --findings 14 --cases 112120 --resamples 1000

With ``--findings`` each prediction has so many; the example has the size of NIH ChestX-ray14. Otherwise
scikit-learn computes the two areas under a curve alone, for each class, on a few resamples; its time is scaled to all.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.common import in_sentences, machine
from xraycls.evaluation.cases import FloatArray, IntArray
from xraycls.evaluation.findings import evaluate_findings
from xraycls.evaluation.intervals import RESAMPLES
from xraycls.evaluation.report import evaluate

PEER_RESAMPLES = 3


def predictions(n: int, seed: int = 0) -> tuple[IntArray, FloatArray]:
    """Labels, int64 [n], half of them positive, and probabilities, float64 [n, 2], of an AUROC of about 0.85."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    positive = 1 / (1 + np.exp(-rng.normal(size=n) - 1.5 * (labels - 0.5)))
    return labels, np.stack([1 - positive, positive], axis=1)


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Processor time of one call, all threads together."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(n: int, resamples: int) -> dict[str, Any]:
    """CPU seconds of a report and of scikit-learn's two areas on as many resamples."""
    labels, probabilities = predictions(n)

    def peer() -> None:
        rng = np.random.default_rng(0)
        for _ in range(PEER_RESAMPLES):
            weight = np.bincount(rng.integers(n, size=n), minlength=n)
            for c in (0, 1):
                roc_auc_score(labels == c, probabilities[:, c], sample_weight=weight)
                average_precision_score(labels == c, probabilities[:, c], sample_weight=weight)

    evaluate(labels[:1000], probabilities[:1000], ("a", "b"), resamples=10)  # imports
    ours = cpu_seconds(lambda: evaluate(labels, probabilities, ("a", "b"), threshold=0.4, resamples=resamples))
    theirs = cpu_seconds(peer) / PEER_RESAMPLES * resamples
    return {"cases": n, "resamples": resamples, "seconds": ours, "scikit_learn": theirs, "times": theirs / ours}


def measure_findings(n: int, findings: int, resamples: int) -> float:
    """CPU seconds of a report of several findings a prediction, of which one in ten is present."""
    rng = np.random.default_rng(0)
    targets = (rng.random((n, findings)) < 0.1).astype(np.float64)
    probabilities = 1 / (1 + np.exp(2 - rng.normal(size=(n, findings)) - 1.5 * targets))
    names = [str(number) for number in range(findings)]
    return cpu_seconds(lambda: evaluate_findings(targets, probabilities, names, resamples=resamples))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="+", default=[100_000, 400_000], help="predictions")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="of the bootstrap")
    parser.add_argument("--findings", type=int, help="of each prediction, several at a time")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    if args.findings:
        for n in args.cases:
            seconds = measure_findings(n, args.findings, args.resamples)
            counted = f"{n:,} predictions of {args.findings} findings, {args.resamples:,} resamples"
            Console().print(f"{counted}: {seconds:.1f} CPU s")
        return
    rows = [measure(n, args.resamples) for n in args.cases]
    table = Table("Predictions", "Resamples", "All figures, CPU s", "scikit-learn's areas, CPU s", "Times as fast")
    for row in rows:
        numbers = (f"{row['seconds']:.1f}", f"{row['scikit_learn']:.0f}", f"{row['times']:.0f}")
        table.add_row(f"{row['cases']:,}", f"{row['resamples']:,}", *numbers)
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2))


if __name__ == "__main__":
    in_sentences(main)
