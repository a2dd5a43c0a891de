"""Multi-label classification: several findings an image, each with a probability of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from xraycls.errors import UsageError, unknown
from xraycls.training.task import Classification, Floats
from xraycls.types import UNCERTAIN, Batch

Losses = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

POLICIES: Mapping[str, float] = {"ignore": float("nan"), "zeros": 0.0, "ones": 1.0, "smooth": 0.7}
"""What an uncertain finding counts as in the loss: U-Ignore, U-Zeros and U-Ones of Irvin et al. (AAAI 2019).

"smooth" is the mean of the interval 0.55–0.85 that Pham et al. (Neurocomputing 437, 2021) draw from.
"""


def uncertain_values(text: str, findings: Sequence[str]) -> list[float]:
    """What an uncertain label of each finding counts as; NaN where it is ignored.

    Args:
        text: a policy, or several for single findings: "ones" or "ignore,Edema=ones,Atelectasis=zeros".
        findings: their names.

    Raises:
        UsageError: no such policy or finding.

    Example:
        >>> uncertain_values("zeros,Edema=ones", ["Edema", "Mass"])
        [1.0, 0.0]
    """
    values = dict.fromkeys(findings, POLICIES["ignore"])
    for entry in (part.strip() for part in text.split(",")):
        name, equals, policy = entry.rpartition("=")
        if policy not in POLICIES:
            raise unknown("policy", policy, POLICIES, "--uncertain")
        if equals and name.strip() not in values:
            raise unknown("finding", name.strip(), findings, "--uncertain")
        values |= dict.fromkeys([name.strip()] if equals else findings, POLICIES[policy])
    return list(values.values())


def counted_targets(
    targets: npt.NDArray[np.float32], uncertain: str, findings: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Returns what labels count as in the loss, float64 [n, F]; NaN where they add nothing.

    Args:
        targets: float32 [n, F], 1 present, 0 absent, ``UNCERTAIN``, NaN unknown.
        uncertain: policies, as of :func:`uncertain_values`.
        findings: F names.
    """
    return np.where(targets == UNCERTAIN, uncertain_values(uncertain, findings), targets)


def cross_entropies(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Returns the binary cross-entropy of each finding, float32 [B, F].

    Args:
        logits: float32 [B, F].
        targets: float32 [B, F], 0–1.
        weights: float32 [F], a factor of what present findings add.
    """
    return weights * targets * F.softplus(-logits) + (1 - targets) * F.softplus(logits)


def focal_losses(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """As :func:`cross_entropies`, the focal loss with α 0.25 and γ 2 (Lin et al., ICCV 2017)."""
    present = logits.sigmoid()
    positive = 0.25 * weights * targets * (1 - present) ** 2 * F.softplus(-logits)
    return positive + 0.75 * (1 - targets) * present**2 * F.softplus(logits)


def asymmetric_losses(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """As :func:`cross_entropies`, the asymmetric loss with γ+ 0, γ- 4 and margin 0.05 (Ridnik et al., ICCV 2021)."""
    shifted = (logits.sigmoid() - 0.05).clamp(min=0)
    return weights * targets * F.softplus(-logits) - (1 - targets) * shifted**4 * torch.log1p(-shifted)


LOSSES: Mapping[str, Losses] = {"bce": cross_entropies, "focal": focal_losses, "asymmetric": asymmetric_losses}


class MultiLabel(Classification):
    """Several findings an image, with a sigmoid for each; unknown labels add nothing to loss and figures.

    The loss of an image is the sum over its known findings divided by the number of all findings, so that every known
    label counts the same.

    Args:
        scores: validation figures of targets float64 [n, F], NaN where unknown, and probabilities float64 [n, F].
        choose: what is chosen on validation from the same two and travels with the weights.
        label_smoothing: 0–1; targets move towards 0.5 by half of it.
        positive_weights: float32 [F] on the device of the model; None for ones.
        uncertain: float32 [F] on the device of the model, what an uncertain label counts as in the loss; NaN: nothing.
        loss: a key of ``LOSSES``.
    """

    def __init__(
        self,
        scores: Callable[[Floats, Floats], Mapping[str, float]],
        choose: Callable[[Floats, Floats], dict[str, str]],
        label_smoothing: float = 0.0,
        positive_weights: torch.Tensor | None = None,
        *,
        uncertain: torch.Tensor,
        loss: str = "bce",
    ) -> None:
        weights = torch.ones_like(uncertain) if positive_weights is None else positive_weights
        super().__init__(scores, choose, label_smoothing)
        self.positive_weights = weights
        self.uncertain = uncertain
        self.losses = LOSSES[loss]

    def _loss_of(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        told = _targets(batch)
        targets = torch.where(told == UNCERTAIN, self.uncertain, told)
        known = ~targets.isnan()
        smoothed = targets.nan_to_num() * (1 - self.label_smoothing) + self.label_smoothing / 2
        # What is unknown must not matter even where the network gives no number: a product with 0 would keep a NaN.
        each = self.losses(torch.where(known, logits.float(), 0.0), smoothed, self.positive_weights)
        return (torch.where(known, each, 0.0).mean(1) * batch.weights).sum()

    def _truth(self, batch: Batch) -> torch.Tensor:
        return _targets(batch)

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid()


def _targets(batch: Batch) -> torch.Tensor:
    if batch.targets is None:
        raise ValueError("the batch has no targets: its table tells one label an image")
    return batch.targets


def positive_weights(targets: npt.NDArray[np.float32]) -> torch.Tensor:
    """Absent by present images of each finding, float32 [F]; 1 where there are none of either."""
    present, absent = (targets == 1).sum(axis=0), (targets == 0).sum(axis=0)
    weights = np.divide(absent, present, out=np.ones(targets.shape[1]), where=(present > 0) & (absent > 0))
    return torch.tensor(weights, dtype=torch.float32)


def check_uncertain(text: str, targets: npt.NDArray[np.float32]) -> None:
    """Raise UsageError for a policy where no label is uncertain."""
    if text != "ignore" and not (targets == UNCERTAIN).any():
        raise UsageError(
            f"--uncertain {text} has no use: no label of the training images is uncertain (-1)", "Leave it out"
        )
