"""A linear probe: the head alone is trained, on features of a frozen backbone that were computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from xraycls.data.table import SampleTable
from xraycls.loaders.engine import Engine
from xraycls.loaders.sampler import Sampler
from xraycls.models.classifier import Classifier
from xraycls.models.ood import pooled_features
from xraycls.training.precision import autocast
from xraycls.training.runtime import Runtime
from xraycls.types import Batch

_CLOSE = 1e-4  # of logits, for the head's share of rounding


@dataclass(frozen=True, slots=True)
class Features:
    """What the head takes, of every picture of a table.

    Attributes:
        values: float32 [n, D], zeros where the picture could not be read.
        readable: bool [n].
        failures: by the name of the picture, why it could not be read.
    """

    values: torch.Tensor
    readable: torch.Tensor
    failures: dict[str, str]


class LinearProbe(Classifier):
    """A classifier that is fed with features, float32 [B, D], in the place of pictures.

    It shares the network of the classifier that it is made of, and is saved as one.

    Args:
        classifier: whose head is to be trained; see :func:`can_be_probed`.
        dropout: probability of dropping a feature in training.
    """

    def __init__(self, classifier: Classifier, dropout: float = 0.0) -> None:
        super().__init__(
            classifier.net,
            classifier.architecture,
            classifier.classes,
            classifier.size,
            classifier.plan,
            multi_label=classifier.multi_label,
        )
        self.dropout = dropout
        self.to(classifier.scale.device)

    def logits_and_auxiliary(self, images: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Logits [B, C] of features [B, D]; auxiliary heads are frozen with the backbone."""
        features = F.dropout(images, self.dropout, self.training)
        logits: torch.Tensor = self.net.get_submodule(self.head)(features)
        return logits, ()


class FeatureLoader:
    """Batches of features in the order in which a sampler draws their pictures; takes the place of an engine.

    Args:
        features: of every row of the table.
        table: labels and findings.
        sampler: which rows form which batch.
    """

    def __init__(self, features: Features, table: SampleTable, sampler: Sampler) -> None:
        self.features = features
        self.labels = torch.from_numpy(table.labels)
        self.targets = torch.from_numpy(table.targets) if table.findings else None
        self.index_sampler = sampler
        self.failures = features.failures

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch and the batch that the next ``for`` starts from."""
        self.index_sampler.epoch, self.index_sampler.start = epoch, start

    def __len__(self) -> int:
        return len(self.index_sampler)

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self.index_sampler)
        self.index_sampler.start = 0  # only one ``for`` resumes in the middle
        for batch in batches:
            rows = torch.from_numpy(batch.indices)
            weights = torch.from_numpy(batch.weights) * self.features.readable[rows]
            targets = None if self.targets is None else self.targets[rows]
            yield Batch(self.features.values[rows], self.labels[rows], rows, weights, targets=targets)


def can_be_probed(classifier: Classifier) -> bool:
    """Whether the logits are a linear layer of one vector a picture, and nothing follows that layer."""
    head = classifier.net.get_submodule(classifier.head)
    if not isinstance(head, nn.Linear):
        return False
    pictures = torch.randint(0, 256, (2, 1, classifier.size, classifier.size), dtype=torch.uint8)
    training = classifier.training
    classifier.eval()
    with torch.inference_mode(), pooled_features(classifier, [classifier.head]) as found:
        logits = classifier(pictures.to(classifier.scale.device))
        again = head(found[classifier.head])
    classifier.train(training)
    return logits.shape == again.shape and torch.allclose(logits, again, rtol=_CLOSE, atol=_CLOSE)


def dropout_before_head(classifier: Classifier) -> float:
    """The probability of the network's own dropout layer right in front of the head; 0 where there is none."""
    modules = [module for _, module in classifier.net.named_modules() if not list(module.children())]
    head = classifier.net.get_submodule(classifier.head)
    before = next((first for first, second in pairwise(modules) if second is head), None)
    return float(before.p) if isinstance(before, nn.Dropout) else 0.0


def compute_features(
    classifier: Classifier, loader: Engine, runtime: Runtime, progress: Callable[[int, int], None]
) -> Features:
    """Run a frozen network once over all pictures of a table, in evaluation mode.

    Args:
        classifier: on the device of the runtime.
        loader: of all pictures in evaluation views, for one process.
        runtime: device and number format.
        progress: told of pictures done and of all of them.
    """
    count = len(loader.table)
    head = classifier.net.get_submodule(classifier.head)
    assert isinstance(head, nn.Linear)
    values, readable = torch.zeros(count, head.in_features), torch.zeros(count, dtype=torch.bool)
    training = classifier.training
    classifier.eval()
    with pooled_features(classifier, [classifier.head]) as found:
        for batch in loader:
            with torch.inference_mode(), autocast(runtime.device, runtime.precision):
                classifier(batch.to(runtime.device).images)
            kept = batch.weights > 0
            values[batch.indices[kept]] = found[classifier.head].cpu()[kept]
            readable[batch.indices[kept]] = True
            progress(int(batch.indices[-1]) + 1, count)
    classifier.train(training)
    return Features(values, readable, dict(loader.failures))
