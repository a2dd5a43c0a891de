"""What examples/siim_ssd.sh comes to: average precision before and after pruning, parameters, and what falls short."""

import json
import sys
from pathlib import Path

ENOUGH, LOSS, SHARE = 0.80, 0.03, 0.70


def main(work: Path) -> str | None:
    """Print the figures of a finished run; a sentence for what falls short."""
    before, after = (_precision(work / folder) for folder in ("evaluated", "reevaluated"))
    lines = (work / "pruned" / "status.json").read_text(encoding="utf-8").splitlines()
    ratio = next(float(kpi["pruning_ratio"]) for line in lines if (kpi := json.loads(line).get("kpi")))
    print(
        f"AP at IoU 0.5: {_told(before)} trained, {_told(after)} pruned to {ratio:.1%} of its parameters and retrained"
    )
    if before["value"] < ENOUGH:
        return f"AP is below {ENOUGH}"
    if before["value"] - after["value"] > LOSS:
        return f"pruning cost more than {LOSS}"
    return f"more than {SHARE:.0%} of the parameters are left" if ratio >= SHARE else None


def _precision(folder: Path) -> dict:
    return json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["ap_sample"]


def _told(figure: dict) -> str:
    low, high = figure["interval"]
    return f"{figure['value']:.3f} ({low:.3f}-{high:.3f})"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
