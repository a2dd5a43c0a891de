"""SGD, Adam and RMSprop of a spec against a walk of Keras' formulas (keras/optimizers.py, version 2.2.4) in numpy."""

import numpy as np
import pytest
import torch

from xraycls.training.keras_optimizers import KerasAdam, KerasSGD
from xraycls.training.optimizers import OPTIMIZERS, OptimizerConfig, set_learning_rate

RATES = [0.1, 0.2, 0.05, 0.01, 0.01]  # a schedule: with one rate alone torch's velocity is the same
START = np.array([[1.0, -2.0], [0.5, 3.0]])
SLOPES = [np.random.default_rng(number).normal(0, 1e-3, START.shape) for number in range(len(RATES))]  # near epsilon


def walked(optimizer, parameter):
    for rate, slope in zip(RATES, SLOPES, strict=True):
        set_learning_rate(optimizer, rate)
        parameter.grad = torch.tensor(slope)
        optimizer.step()
    return parameter.detach().numpy()


def parameter():
    return torch.nn.Parameter(torch.tensor(START))


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd(nesterov):
    weight, velocity = START.copy(), np.zeros_like(START)
    for rate, slope in zip(RATES, SLOPES, strict=True):
        velocity = 0.9 * velocity - rate * slope
        weight = weight + (0.9 * velocity - rate * slope if nesterov else velocity)
    ours = parameter()
    found = walked(KerasSGD([ours], lr=0.1, momentum=0.9, nesterov=nesterov), ours)
    assert found == pytest.approx(weight, rel=1e-12)
    other = parameter()
    assert walked(torch.optim.SGD([other], 0.1, 0.9, nesterov=nesterov), other) != pytest.approx(weight, rel=1e-6)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam(amsgrad):
    weight, first, second = START.copy(), np.zeros_like(START), np.zeros_like(START)
    greatest = np.zeros_like(START)
    for step, (rate, slope) in enumerate(zip(RATES, SLOPES, strict=True), start=1):
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        greatest = np.maximum(greatest, second)
        corrected = rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weight = weight - corrected * first / (np.sqrt(greatest if amsgrad else second) + 1e-4)
    ours = parameter()
    found = walked(KerasAdam([ours], 0.1, (0.9, 0.999), 1e-4, amsgrad), ours)
    assert found == pytest.approx(weight, rel=1e-9)
    other = parameter()
    assert walked(torch.optim.Adam([other], 0.1, (0.9, 0.999), 1e-4, amsgrad=amsgrad), other) != pytest.approx(weight)


def test_rmsprop_of_torch_is_that_of_keras():
    weight, square = START.copy(), np.zeros_like(START)
    for rate, slope in zip(RATES, SLOPES, strict=True):
        square = 0.9 * square + 0.1 * slope**2
        weight = weight - rate * slope / (np.sqrt(square) + 1e-4)
    ours = parameter()
    made = OptimizerConfig("rmsprop", options={"alpha": 0.9, "momentum": 0.0, "eps": 1e-4}).build([ours], 0.1)
    assert walked(made, ours) == pytest.approx(weight, rel=1e-9)


@pytest.mark.parametrize("name", ["keras_sgd", "keras_adam"])
def test_a_saved_state_goes_on_as_if_it_had_not_stopped(name):
    whole, part = parameter(), parameter()
    build = OPTIMIZERS[name][0]
    straight, before = build([whole], lr=0.1), build([part], lr=0.1)
    for number, slope in enumerate(SLOPES):
        if number == 2:
            after = build([part], lr=0.1)
            after.load_state_dict(before.state_dict())
            before = after
        for optimizer, each in ((straight, whole), (before, part)):
            each.grad = torch.tensor(slope)
            optimizer.step()
    assert torch.equal(whole, part)
