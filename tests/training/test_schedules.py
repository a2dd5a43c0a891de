"""Learning-rate schedules against torch's own, and early stopping by hand."""

import math

import pytest
import torch

from xraycls.errors import UsageError
from xraycls.training.early_stopping import EarlyStopping
from xraycls.training.schedules import Schedule


def torch_factors(build, epochs):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = build(optimizer)
    factors = []
    for _ in range(epochs):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


def test_cosine_is_torchs_annealing():
    expected = torch_factors(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20), 20)
    found = [Schedule("cosine", 1.0, 20).at(epoch, 20) for epoch in range(20)]
    assert found == pytest.approx(expected)


def test_step_is_torchs_step():
    expected = torch_factors(lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.3), 25)
    found = [Schedule("step", 1.0, 25, step_epochs=7, step_factor=0.3).at(e, 25) for e in range(25)]
    assert found == pytest.approx(expected)


def test_warm_up_rises_to_the_full_rate_and_the_cosine_ends_at_zero():
    found = [Schedule("cosine", 1.0, 5, warmup_epochs=1).at(e, 50) for e in range(51)]
    assert found[0] == pytest.approx(0.01)
    assert found[:11] == sorted(found[:11])
    assert found[10] == pytest.approx(1.0)
    assert found[50] == pytest.approx(0.0)


def test_plateau_follows_the_number_of_plateaus():
    assert Schedule("plateau", 1.0, 10, step_factor=0.5).at(9, 10, 3) == 0.125
    assert Schedule("constant", 1.0, 10).at(9, 10, 3) == 1.0


def test_a_misspelt_schedule_is_one_sentence():
    with pytest.raises(UsageError, match="Did you mean cosine"):
        Schedule("cosin", 1.0, 1).at(0, 1)


@pytest.mark.parametrize(
    ("values", "higher", "delta", "patience", "stops_after", "best"),
    [
        ([3, 2, 1, 1, 1], False, 0.0, 2, 5, 2),
        ([0.5, 0.6, 0.7], True, 0.0, 1, None, 2),
        ([0.5, 0.55, 0.58], True, 0.1, 2, 3, 0),
        ([1.0, math.nan, math.nan], False, 0.0, 2, 3, 0),
        ([math.nan, 0.5, 0.6], False, 0.0, 2, None, 1),
    ],
)
def test_early_stopping_counts_misses(values, higher, delta, patience, stops_after, best):
    stopping = EarlyStopping(patience, delta, higher)
    stopped = None
    for epoch, value in enumerate(values):
        stopping.update(value, epoch)
        if stopping.should_stop:
            stopped = epoch + 1
            break
    assert (stopped, stopping.best_epoch) == (stops_after, best)


def test_early_stopping_goes_on_from_its_state():
    first, second = EarlyStopping(3), EarlyStopping(3)
    for epoch, value in enumerate((1.0, 2.0, 3.0)):
        first.update(value, epoch)
    second.load_state_dict(first.state_dict())
    assert not second.should_stop
    second.update(4.0, 3)
    assert second.should_stop
