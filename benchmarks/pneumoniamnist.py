"""PneumoniaMNIST, official split, 28-pixel pictures, beside MedMNIST's published table.

    python -m benchmarks.pneumoniamnist --data pneumoniamnist.npz --weights mobilenet_v2.pth --json \\
        benchmarks/results/pneumoniamnist.json

Three seeds each of a MobileNetV2 from transferred weights, fed the same pictures enlarged to 96 pixels, and of a
ResNet-18 from scratch at 64; epoch and threshold are chosen on validation. The test split is used once a seed, and once
for the mean of the three over each picture and its mirror image. An interrupted call goes on when it is run again.
Published figures: Yang et al., MedMNIST v2, Scientific Data 2023, table 4 (AUC, accuracy).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.common import write_json
from benchmarks.quality import run_parts, show_beside

PUBLISHED = (
    ("ResNet-18 (28)", 0.944, 0.854),
    ("ResNet-18 (224)", 0.956, 0.864),
    ("ResNet-50 (28)", 0.948, 0.854),
    ("ResNet-50 (224)", 0.962, 0.884),
    ("auto-sklearn", 0.942, 0.855),
    ("AutoKeras", 0.947, 0.878),
    ("Google AutoML Vision", 0.991, 0.946),
)
COMMON: dict[str, Any] = {
    "balance": True,
    "label_smoothing": 0.05,
    "weight_decay": 0.05,
    "ema": 0.99,
    "monitor": "auroc",
    "threshold": "balanced_accuracy",
}
TRANSFER = COMMON | {
    "base_model": "torchvision:mobilenet_v2",
    "size": 96,
    "epochs": 4,
    "batch_size": 32,
    "learning_rate": 5e-4,
}
SCRATCH = COMMON | {
    "base_model": "ResNet18",
    "weights": "none",
    "size": 64,
    "epochs": 14,
    "patience": 14,
    "batch_size": 64,
    "learning_rate": 1e-3,
}


def main() -> None:
    """Run, print tables and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="pneumoniamnist.npz")
    parser.add_argument("--weights", default="imagenet", help="of MobileNetV2: imagenet or a file")
    parser.add_argument("--parts", nargs="+", default=["transfer", "scratch"], choices=["transfer", "scratch"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/pneumoniamnist"))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    parts = {
        "transfer": ("MobileNetV2, transferred", TRANSFER | {"data": given.data, "weights": given.weights}),
        "scratch": ("ResNet-18, from scratch", SCRATCH | {"data": given.data}),
    }
    results = run_parts(parts, given.parts, given.seeds, given.output)
    show_beside("PneumoniaMNIST", [(f"xraycls {name}", result) for name, result in results.items()], PUBLISHED)
    write_json(given.json, {"published": PUBLISHED, "xraycls": results})


if __name__ == "__main__":
    main()
