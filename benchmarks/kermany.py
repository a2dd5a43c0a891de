"""The ancestor's own task: paediatric pneumonia (Kermany et al. 2018), official train and test splits.

    python -m benchmarks.kermany --data kermany_224 --weights mobilenet_v2.pth --json benchmarks/results/kermany.json

Validation is drawn anew by patient, as the official one has 16 images. Three seeds each of a MobileNetV2 from
transferred weights and of a ResNet-18 from scratch; epoch and threshold are chosen on validation; the test split is
used once a seed, and once for the mean of the three over each picture and its mirror image.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.common import write_json
from benchmarks.quality import run_parts, show_beside

PUBLISHED = (
    ("MobileNetV3-small, same files (independent)", 0.964, 0.875),
    ("Kermany et al. 2018", 0.968, 0.928),
)
COMMON: dict[str, Any] = {
    "redraw_val": True,
    "batch_size": 32,
    "balance": True,
    "label_smoothing": 0.05,
    "ema": 0.99,
    "monitor": "auroc",
    "threshold": "balanced_accuracy",
}
TRANSFER = COMMON | {
    "base_model": "torchvision:mobilenet_v2",
    "size": 160,
    "epochs": 4,
    "learning_rate": 5e-4,
    "weight_decay": 0.05,
}
SCRATCH = COMMON | {
    "base_model": "ResNet18",
    "weights": "none",
    "size": 96,
    "epochs": 8,
    "patience": 8,
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
}


def main() -> None:
    """Run, print tables and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="image folder with train, val and test")
    parser.add_argument("--weights", default="imagenet", help="of MobileNetV2: imagenet or a file")
    parser.add_argument("--parts", nargs="+", default=["transfer", "scratch"], choices=["transfer", "scratch"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/kermany"))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    parts = {
        "transfer": ("MobileNetV2, transferred", TRANSFER | {"data": given.data, "weights": given.weights}),
        "scratch": ("ResNet-18, from scratch", SCRATCH | {"data": given.data}),
    }
    results = run_parts(parts, given.parts, given.seeds, given.output)
    show_beside("Paediatric pneumonia", [(f"xraycls {name}", r) for name, r in results.items()], PUBLISHED)
    write_json(given.json, {"published": PUBLISHED, "xraycls": results})


if __name__ == "__main__":
    main()
