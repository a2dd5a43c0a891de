"""What examples/faster_rcnn.sh comes to: average precision of every model, parameters, and what falls short."""

import json
import sys
from pathlib import Path

ENOUGH, LOSS = 0.80, 0.03
MODELS = {"evaluated": "trained", "pruned_alone": "pruned, not retrained", "reevaluated": "retrained"}


def main(work: Path) -> str | None:
    """Print the figures of a finished run; a sentence for what falls short."""
    figures = {folder: _precision(work / folder) for folder in MODELS}
    lines = (work / "pruned" / "status.json").read_text(encoding="utf-8").splitlines()
    ratio = next(float(kpi["pruning_ratio"]) for line in lines if (kpi := json.loads(line).get("kpi")))
    for folder, title in MODELS.items():
        print(f"AP at IoU 0.5: {figures[folder]:.3f} {title}")
    print(f"Parameters left by pruning: {ratio:.1%}")
    before, after = figures["evaluated"], figures["reevaluated"]
    if before < ENOUGH:
        return f"AP is below {ENOUGH}"
    return f"pruning cost more than {LOSS}" if before - after > LOSS else None


def _precision(folder: Path) -> float:
    return float(json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["voc_ap_integrate"]["value"])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
