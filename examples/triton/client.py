"""Ask a Triton server about picture and DICOM files, by the ensemble that `xraycls export --triton` writes.

    python examples/triton/client.py chest film.dcm other.png

needs `pip install "tritonclient[http]"`. All files go in one request; each answer is a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

NUMBERS = ("num_detections", "num_dets")
"""Outputs that say how many rows of the others are detections; rows beyond them are zeros."""


def main() -> None:
    """Ask and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the name that was given to --triton-name")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--url", default="localhost:8000")
    parser.add_argument("--least", type=float, default=0.0, help="detections that score less are left out")
    given = parser.parse_args()
    try:
        found = answers(http.InferenceServerClient(given.url), given.model, given.files, given.least)
    except (InferenceServerException, OSError) as error:
        sys.exit(f"{given.url}: {error}")
    for path, answer in zip(given.files, found, strict=True):
        print(json.dumps({"file": str(path), **answer}))


def answers(
    client: http.InferenceServerClient, model: str, files: list[Path], least: float = 0.0
) -> list[dict[str, Any]]:
    """Returns the outputs for each file by name, less maps, less rows that are no detections or score too little."""
    contents = np.array([[path.read_bytes()] for path in files], object)
    given = http.InferInput("file", list(contents.shape), "BYTES")
    given.set_data_from_numpy(contents)
    answer = client.infer(f"{model}_file", [given])
    outputs = {each["name"]: answer.as_numpy(each["name"]) for each in answer.get_response()["outputs"]}
    return [trimmed({name: values[row] for name, values in outputs.items()}, least) for row in range(len(files))]


def trimmed(outputs: dict[str, Any], least: float = 0.0) -> dict[str, Any]:
    """Returns the outputs of one picture as values of JSON."""
    counts = [int(outputs[name][0]) for name in NUMBERS if name in outputs]
    kept = {name: values for name, values in outputs.items() if name not in ("cam", *NUMBERS)}
    if not counts:
        return {name: values.tolist() for name, values in kept.items()}
    scores = next(values for name, values in kept.items() if name.endswith("scores"))[: counts[0]]
    return {name: values[: counts[0]][scores >= least].tolist() for name, values in kept.items()}


if __name__ == "__main__":
    main()
