"""The moving average of weights."""

import math

import pytest
import torch

from xraycls.training.ema import moving_average


def walk(average, model, steps: int) -> list[float]:
    values = []
    for step in range(steps):
        with torch.no_grad():
            model.weight.fill_(float(step + 1))
        average.update_parameters(model)
        values.append(average.module.weight.item())
    return values


def test_the_decay_rises_as_in_tao():
    """TAO's callback: the updates n are counted from 1, and the decay is 0.999 (1 - exp(-n / 2000))."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 5.0)
    expected, kept = [], 5.0
    for update in range(1, 31):
        decay = 0.999 * (1 - math.exp(-update / 2000))
        kept = kept * decay + (1 - decay) * update
        expected.append(kept)
    assert walk(moving_average(model, 0.999, warmup=2000.0), model, 30) == pytest.approx(expected, rel=1e-6)


def test_without_a_warm_up_the_average_starts_from_the_first_step():
    model = torch.nn.Linear(1, 1, bias=False)
    assert walk(moving_average(model, 0.9), model, 3) == pytest.approx([1.0, 1.1, 1.29])


def test_statistics_are_averaged_and_counters_are_not():
    model = torch.nn.BatchNorm1d(2)
    average = moving_average(model, 0.9, warmup=10.0)
    model(torch.randn(8, 2))
    average.update_parameters(model)
    assert int(average.module.num_batches_tracked) == 1
    assert not torch.equal(average.module.running_mean, torch.zeros(2))
