"""ResNet-18 on PneumoniaMNIST, official split, from scratch, beside MedMNIST's published table.

    python -m benchmarks.pneumoniamnist --data pneumoniamnist.npz --json benchmarks/results/pneumoniamnist.json

Three seeds; epoch and threshold are chosen on validation; the test split is used once a seed.
Published figures: Yang et al., MedMNIST v2, Scientific Data 2023, table 4 (AUC, accuracy).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.common import write_json
from benchmarks.quality import run_seeds, show_beside

PUBLISHED = (
    ("ResNet-18 (28)", 0.944, 0.854),
    ("ResNet-18 (224)", 0.956, 0.864),
    ("ResNet-50 (28)", 0.948, 0.854),
    ("ResNet-50 (224)", 0.962, 0.884),
    ("auto-sklearn", 0.942, 0.855),
    ("AutoKeras", 0.947, 0.878),
    ("Google AutoML Vision", 0.991, 0.946),
)
SETTINGS = {
    "base_model": "ResNet18",
    "weights": "none",
    "size": 64,
    "epochs": 14,
    "patience": 14,
    "batch_size": 64,
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "label_smoothing": 0.05,
    "balance": True,
    "ema": 0.99,
    "monitor": "auroc",
    "threshold": "balanced_accuracy",
}


def main() -> None:
    """Run, print tables and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="pneumoniamnist.npz")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/pneumoniamnist"))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    result = run_seeds("resnet18", given.seeds, given.output, {"data": given.data, **SETTINGS})
    show_beside("PneumoniaMNIST", [("xraycls ResNet-18 (28)", result)], PUBLISHED)
    write_json(given.json, {"published": PUBLISHED, "xraycls": result})


if __name__ == "__main__":
    main()
