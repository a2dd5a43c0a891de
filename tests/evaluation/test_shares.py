import numpy as np
import pytest
from scipy.optimize import minimize

from xraycls.evaluation.shares import best_shares


def loss(shares, told) -> float:
    return float(-np.log(np.asarray(shares) @ told).mean())


@pytest.mark.parametrize(("models", "seed"), [(2, 0), (3, 1), (5, 2), (8, 3)])
def test_no_weights_that_scipy_finds_are_better(models, seed):
    rng = np.random.default_rng(seed)
    told = rng.beta(2, 1, (models, 300)) ** rng.uniform(0.5, 2, (models, 1))
    shares = best_shares(told)
    assert min(shares) >= 0
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    simplex = {"type": "eq", "fun": lambda w: w.sum() - 1}
    theirs = minimize(
        loss, np.full(models, 1 / models), (told,), method="SLSQP", bounds=[(0, 1)] * models, constraints=simplex,
        options={"ftol": 1e-12},
    )  # fmt: skip
    assert loss(shares, told) <= theirs.fun + 1e-5


def test_members_that_say_the_same_share_alike():
    told = np.random.default_rng(0).random((1, 50)).repeat(3, axis=0)
    assert best_shares(told) == pytest.approx((1 / 3,) * 3, abs=1e-5)


def test_a_certain_mistake_rules_no_member_out():
    told = np.array([[1.0, 1.0, 1.0, 0.0], [0.6, 0.6, 0.6, 0.6]])
    assert 0 < best_shares(told)[0] < 1
