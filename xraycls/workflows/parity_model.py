"""The model whose logits tell what a difference between pictures means; of random weights where there is no other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from xraycls.models.classifier import Classifier, build_classifier

RANDOM = "ResNet18"
_CLASSES = ("first", "second")


def logits_of(classifier: Classifier, pictures: npt.NDArray[np.uint8], batch_size: int) -> npt.NDArray[np.float64]:
    """Logits in fp32 of pictures uint8 [n, S, S]: float64 [n, C]."""
    device = next(classifier.parameters()).device
    batches = torch.split(torch.from_numpy(pictures)[:, None], batch_size)
    with torch.inference_mode():
        return torch.cat([classifier(batch.to(device)).cpu().double() for batch in batches]).numpy()


def random_classifier(
    pictures: npt.NDArray[np.uint8], *, seed: int, batch_size: int, device: torch.device
) -> Classifier:
    """A ResNet-18 with random weights whose logits have mean 0 and deviation 1 over some pictures.

    As it is initialised, a random network says nearly the same of all radiographs. Scaled so, a difference of
    logits is a share of how far pictures lie apart, and the classes are about as frequent as each other, so that
    top-1 can change at all.

    Args:
        pictures: uint8 [n, S, S].
        seed: of the weights.
        batch_size: pictures at a time.
        device: where it computes.

    Raises:
        UsageError: the network takes no pictures of this size.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        classifier, _ = build_classifier(RANDOM, _CLASSES, weights="none", size=pictures.shape[-1])
    classifier.to(device).eval()
    logits = torch.from_numpy(logits_of(classifier, pictures, batch_size))
    deviation, mean = torch.std_mean(logits, dim=0, correction=0)
    deviation[deviation == 0] = 1.0  # of a single picture
    head = classifier.net.get_submodule(classifier.head)
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight /= deviation.to(head.weight)[:, None]
        head.bias.copy_(-mean / deviation)  # a new head's own is zero
    return classifier
