"""Make boxes_fusion.json with ensemble-boxes 1.0.9, by Solovyev et al., the authors of weighted boxes fusion.

python tests/golden/make_boxes_fusion.py  (pip install ensemble-boxes==1.0.9)
"""

import json
from pathlib import Path

import numpy as np
from ensemble_boxes import weighted_boxes_fusion

CASES = (
    {"models": 1, "weights": None, "iou": 0.55, "skip": 0.0},
    {"models": 2, "weights": None, "iou": 0.55, "skip": 0.0},
    {"models": 3, "weights": None, "iou": 0.4, "skip": 0.05},
    {"models": 3, "weights": [2.0, 1.0, 0.5], "iou": 0.5, "skip": 0.2},
    {"models": 4, "weights": [1.0, 1.0, 1.0, 3.0], "iou": 0.7, "skip": 0.0},
)
SIDE = 512  # pixels; ensemble-boxes takes shares of the picture


def predictions(rng: np.random.Generator, models: int) -> list[dict]:
    """Boxes about six common objects and some of their own, as a model gives them."""
    centres, sides = rng.uniform(0.2, 0.8, (6, 2)), rng.uniform(0.1, 0.3, (6, 2))
    of = rng.integers(0, 3, 6)
    found = []
    for _ in range(models):
        seen = rng.permutation(6)[: rng.integers(3, 7)].repeat(2)
        centre = np.concatenate([centres[seen] + rng.normal(0, 0.02, (len(seen), 2)), rng.uniform(0.2, 0.8, (4, 2))])
        side = np.concatenate([sides[seen] * rng.uniform(0.8, 1.2, (len(seen), 2)), rng.uniform(0.05, 0.3, (4, 2))])
        boxes = np.clip(np.concatenate([centre - side / 2, centre + side / 2], axis=1), 0, 1)
        labels = np.concatenate([of[seen], rng.integers(0, 3, 4)])
        scores = rng.permutation(np.linspace(0.02, 0.98, 200))[: len(boxes)] + rng.uniform(0, 1e-4, len(boxes))
        found.append({"boxes": boxes.round(6).tolist(), "labels": labels.tolist(), "scores": scores.round(6).tolist()})
    return found


def main() -> None:
    """Write the predictions in pixels, and what ensemble-boxes makes of them."""
    rng = np.random.default_rng(0)
    cases = []
    for case in CASES:
        found = predictions(rng, case["models"])
        parts = ([each[name] for each in found] for name in ("boxes", "scores", "labels"))
        boxes, scores, labels = weighted_boxes_fusion(
            *parts, weights=case["weights"], iou_thr=case["iou"], skip_box_thr=case["skip"]
        )
        for each in found:
            each["boxes"] = (np.array(each["boxes"]) * SIDE).tolist()
        fused = {"boxes": (boxes * SIDE).tolist(), "labels": labels.astype(int).tolist(), "scores": scores.tolist()}
        cases.append({**case, "detections": found, "fused": fused})
    Path(__file__).with_name("boxes_fusion.json").write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main()
