"""Losses of several findings an image, held against torch and torchvision."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from xraycls.errors import UsageError
from xraycls.loaders.sampler import weights_of_findings
from xraycls.training.distributed import World
from xraycls.training.findings import (
    LOSSES,
    MultiLabel,
    asymmetric_losses,
    check_uncertain,
    cross_entropies,
    focal_losses,
    positive_weights,
    uncertain_values,
)
from xraycls.types import UNCERTAIN, Batch

LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)) * 4
TARGETS = torch.tensor([[1.0, 0, 1], [0, 0, 1], [0.7, 0, 0], [1, 1, 1], [0, 0, 0], [0.3, 1, 0]])
ONES = torch.ones(3)


class Head(nn.Module):
    """Gives logits as a classifier does."""

    auxiliary_weight = 0.0

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def logits_and_auxiliary(self, images):
        return self.logits, ()

    def forward(self, images):
        return self.logits


@pytest.fixture(autouse=True)
def _any_model(monkeypatch):
    monkeypatch.setattr("xraycls.training.task._classifier", lambda model: model)


def batch(targets: torch.Tensor, weights: torch.Tensor | None = None) -> Batch:
    n = len(targets)
    rows = torch.arange(n)
    return Batch(
        torch.zeros(n, 1, 1, 1, dtype=torch.uint8),
        torch.full((n,), -1),
        rows,
        torch.ones(n) if weights is None else weights,
        targets=targets,
    )


def task(uncertain: str = "ignore", **options) -> MultiLabel:
    values = torch.tensor(uncertain_values(uncertain, ["a", "b", "c"]))
    return MultiLabel(lambda y, p: {"n": float(len(y))}, lambda y, p: {}, uncertain=values, **options)


def test_cross_entropy_is_torchs_with_its_positive_weights():
    weights = torch.tensor([1.0, 3.0, 0.5])
    expected = F.binary_cross_entropy_with_logits(LOGITS, TARGETS, pos_weight=weights, reduction="none")
    torch.testing.assert_close(cross_entropies(LOGITS, TARGETS, weights), expected)


def test_the_focal_loss_is_torchvisions():
    whole = TARGETS.round()
    torch.testing.assert_close(focal_losses(LOGITS, whole, ONES), sigmoid_focal_loss(LOGITS, whole))


def test_the_asymmetric_loss_is_its_papers_formula():
    p = LOGITS.double().sigmoid().numpy()
    y = TARGETS.double().numpy()
    shifted = np.maximum(p - 0.05, 0)
    expected = -(y * np.log(p) + (1 - y) * shifted**4 * np.log(1 - shifted))
    found = asymmetric_losses(LOGITS.double(), TARGETS.double(), ONES.double())
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_extreme_logits_have_finite_gradients(loss):
    logits = torch.tensor([[-200.0, 0.0, 200.0]], requires_grad=True)
    for targets in (torch.zeros(1, 3), torch.ones(1, 3)):
        (gradient,) = torch.autograd.grad(LOSSES[loss](logits, targets, ONES).sum(), logits)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_unknown_labels_and_padding_add_nothing(loss):
    targets = TARGETS.clone()
    targets[0, 1] = targets[2] = math.nan
    logits = LOGITS.clone()
    logits[0, 1] = math.inf  # whatever the network says there
    model = Head(logits)
    total = task(loss=loss).loss(model, batch(targets, torch.tensor([1.0, 1, 1, 1, 1, 0])))
    total.backward()
    assert model.logits.grad is not None
    assert not model.logits.grad[0, 1]
    assert not model.logits.grad[[2, 5]].any()
    known = ~targets.isnan()
    each = LOSSES[loss](LOGITS, targets.nan_to_num(), ONES) * known
    torch.testing.assert_close(total, each[:5].sum() / 3)


@pytest.mark.parametrize(("policy", "counts"), [("zeros", 0.0), ("ones", 1.0), ("smooth", 0.7)])
def test_uncertain_labels_count_as_their_policy_says(policy, counts):
    told, taken = TARGETS.clone(), TARGETS.clone()
    told[:, 1], taken[:, 1] = UNCERTAIN, counts
    found = task(policy).loss(Head(LOGITS), batch(told))
    torch.testing.assert_close(found, task().loss(Head(LOGITS), batch(taken)))
    ignored = torch.where(told == UNCERTAIN, math.nan, told)
    torch.testing.assert_close(
        task("ignore").loss(Head(LOGITS), batch(told)), task().loss(Head(LOGITS), batch(ignored))
    )


def test_policies_of_single_findings():
    values = uncertain_values("ignore, b=ones, c=smooth", ["a", "b", "c"])
    assert math.isnan(values[0])
    assert values[1:] == [1.0, 0.7]
    with pytest.raises(UsageError, match="Unknown policy 'one'"):
        uncertain_values("one", ["a"])
    with pytest.raises(UsageError, match="Unknown finding 'd' for --uncertain"):
        uncertain_values("d=ones", ["a"])


def test_a_policy_without_uncertain_labels_is_refused():
    check_uncertain("ones", np.array([[0.5, 1]], np.float32))
    check_uncertain("ignore", np.array([[0, 1]], np.float32))
    with pytest.raises(UsageError, match="no label of the training images is uncertain"):
        check_uncertain("ones", np.array([[np.nan, 1]], np.float32))


def test_label_smoothing_moves_targets_towards_a_half():
    expected = F.binary_cross_entropy_with_logits(LOGITS, TARGETS * 0.8 + 0.1, reduction="none").mean(1).sum()
    torch.testing.assert_close(task(label_smoothing=0.2).loss(Head(LOGITS), batch(TARGETS)), expected)


def test_validation_gathers_sigmoids_and_leaves_out_padding():
    seen = {}
    values = torch.tensor(uncertain_values("ignore", ["a", "b", "c"]))
    validated = MultiLabel(lambda y, p: seen.update(y=y, p=p) or {}, lambda y, p: {"x": "y"}, uncertain=values)
    validated.update(Head(LOGITS).requires_grad_(False), batch(TARGETS, torch.tensor([1.0, 1, 1, 1, 1, 0])))
    validated.compute(World())
    np.testing.assert_array_equal(seen["y"], TARGETS[:5].numpy())
    np.testing.assert_allclose(seen["p"], LOGITS[:5].double().sigmoid().numpy())


def test_positive_weights_are_absent_by_present():
    targets = np.array([[1, 0, 1], [0, 0, 1], [0, np.nan, 1], [np.nan, 0, 1]], np.float32)
    assert positive_weights(targets).tolist() == [2, 1, 1]


def test_rare_findings_are_drawn_as_often_as_common_ones():
    rng = np.random.default_rng(0)
    targets = (rng.random((4000, 3)) < [0.5, 0.1, 0.02]).astype(np.float32)
    weights = weights_of_findings(targets)
    shares = [weights[targets[:, f] == 1].sum() for f in range(3)]
    assert min(shares) >= 1
    assert weights[~targets.any(axis=1)].sum() == pytest.approx(1)
