"""TAO's learning rates, step by step, against the numbers that upstream's schedulers gave."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from xraycls.training.annealing import ExponentialSteps, SoftStartAnnealing, SoftStartCosine, SoftStartSteps

CASES = json.loads((Path(__file__).parents[1] / "golden" / "learning_rates.json").read_text())["cases"]


def schedule(case: dict):
    """The schedule of a case's spec, whose fields are 32 bits wide; several GPUs multiply every rate."""
    fields: dict[str, list[float]] = {}
    for name, value in re.findall(r"(\w+): ([\d.e+-]+)", case["spec"]):
        fields.setdefault(name, []).append(float(np.float32(value)))
    one = {name: values[0] for name, values in fields.items()}
    gpus = case["gpus"]
    match case["kind"]:
        case "soft_start_annealing":
            low, high = one["min_learning_rate"] * gpus, one["max_learning_rate"] * gpus
            return SoftStartAnnealing(low, high, one["soft_start"], one["annealing"])
        case "soft_start_cosine":
            return SoftStartCosine(one["min_learning_rate"] * gpus, one["max_learning_rate"] * gpus, one["soft_start"])
        case "frcnn_soft_start":
            points = tuple(fields["annealing_points"])
            rates = one["start_lr"] * gpus, one["base_lr"] * gpus
            return SoftStartSteps(*rates, one["soft_start"], points, one["annealing_divider"])
        case "frcnn_step":
            return ExponentialSteps(one["base_lr"] * gpus, one["gamma"], one["step_size"])
    raise AssertionError(case["kind"])


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['name']}-{c['gpus']}")
def test_every_step(case):
    rates = schedule(case)
    for step, _, rate in case["rows"]:
        assert rates.at(step, case["max_iterations"]) == pytest.approx(rate, rel=1e-5), step
    for epoch, rate in case["epoch_end_logged_lr"].items():
        step = int(epoch) * case["iters_per_epoch"]
        assert rates.at(step, case["max_iterations"]) == pytest.approx(rate, rel=1e-5), epoch


def test_a_training_of_a_few_steps_has_a_rate():
    assert ExponentialSteps(1.0, 0.5, 10.0).at(3, 5) == 0.125
