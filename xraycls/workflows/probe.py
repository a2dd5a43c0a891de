"""When a frozen backbone's features are computed once, and the file that keeps them."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from xraycls.data.documents import parse_json
from xraycls.data.files import atomic_write
from xraycls.data.table import SampleTable
from xraycls.loaders.cache import cache_settings, picture_facts
from xraycls.loaders.choose import build_sampler
from xraycls.loaders.engine import Engine
from xraycls.models.build import under
from xraycls.models.classifier import Classifier
from xraycls.training.config import TrainConfig
from xraycls.training.probe import (
    FeatureLoader,
    Features,
    LinearProbe,
    can_be_probed,
    compute_features,
    dropout_before_head,
)
from xraycls.training.reporter import Reporter
from xraycls.training.run_folder import RunFolder
from xraycls.training.runtime import Runtime

logger = logging.getLogger(__name__)

_FROZEN = "backbone"
_PLAIN = "none"  # the augmentation under which a picture looks the same in every epoch
_FORMAT = 1


def is_probe(config: TrainConfig, classifier: Classifier, world: int, reporter: Reporter) -> bool:
    """Whether a run trains the head alone on features that never change; says why a frozen backbone's do."""
    if config.freeze != _FROZEN:
        return False
    why = ""
    if config.augment != _PLAIN:
        why = f"pictures look different in every epoch; --augment {_PLAIN} computes them once"
    elif config.qat:
        why = "rounding to 8 bits is simulated in the backbone, too"
    elif world > 1:
        why = "there are several processes; one alone computes them once"
    elif not can_be_probed(classifier):
        why = f"the head of {classifier.architecture.name} is no linear layer of one vector a picture"
    if why:
        reporter.message(f"Features of the frozen backbone are computed in every epoch: {why}.")
    return not why


class FeatureFiles:
    """The features of tables under one network, each in a file that is read where pictures and network are the same.

    Args:
        classifier: whose backbone is frozen, on the device of the runtime.
        config: of the run; with ``--cache DIR`` the files lie there and serve later runs, with ``--cache off`` nowhere.
        run: where they lie otherwise.
        runtime: device and number format.
        reporter: is told of progress, and how long it took.
    """

    def __init__(
        self, classifier: Classifier, config: TrainConfig, run: RunFolder, runtime: Runtime, reporter: Reporter
    ) -> None:
        self.classifier = classifier
        self.config = config
        self.runtime = runtime
        self.reporter = reporter
        settings = cache_settings(config.cache)
        shared = settings.folder if settings and settings.all_on_disk else None
        self.folder = None if settings is None else shared / "features" if shared else run.path / "features"
        self._network = _fingerprint(classifier)

    def of(self, table: SampleTable, split: str, engine: str, loader: Callable[[], Engine]) -> Features:
        """Returns the features of a table, read or computed.

        Args:
            table: of a split.
            split: its name.
            engine: that draws the pictures.
            loader: gives all of them in evaluation views.
        """
        settings = (_FORMAT, self._network, self.classifier.size, engine, self.runtime.precision)
        key = hashlib.sha256(repr((settings, [picture_facts(sample) for sample in table])).encode()).hexdigest()[:24]
        path = self.folder / f"{key}.safetensors" if self.folder else None
        if path and (found := _read(path, len(table))):
            self.reporter.message(f"The features of {len(table):,} {split} pictures come from {path}.")
            return found
        started = time.perf_counter()
        features = compute_features(self.classifier, loader(), self.runtime, self.reporter.preparing)
        seconds = time.perf_counter() - started
        self.reporter.message(
            f"The features of {len(table):,} {split} pictures were computed once, without augmentation, in "
            f"{seconds:.0f} seconds; epochs train the head alone."
        )
        if path:
            _write(path, features)
        return features


def build_probe(
    files: FeatureFiles, train: SampleTable, val: SampleTable, engine: str, loader: Callable[..., Engine]
) -> tuple[LinearProbe, tuple[FeatureLoader, FeatureLoader]]:
    """The model of a probe, and its batches of training and validation.

    Args:
        files: of the classifier.
        train: training pictures.
        val: validation pictures.
        engine: that draws them.
        loader: gives a table's pictures; takes ``training``.
    """
    config, classifier = files.config, files.classifier
    sampler = partial(build_sampler, batch_size=config.batch_size, seed=config.seed)
    loaders = (
        FeatureLoader(
            files.of(train, "training", engine, partial(loader, train, training=False)),
            train,
            sampler(train, training=True, balance=config.balance),
        ),
        FeatureLoader(
            files.of(val, "validation", engine, partial(loader, val, training=False)),
            val,
            sampler(val, training=False),
        ),
    )
    return LinearProbe(classifier, dropout_before_head(classifier)), loaders


def _fingerprint(classifier: Classifier) -> str:
    """A hash of what turns a picture into features: the network but for its head, and the normalisation."""
    digest = hashlib.sha256(repr((classifier.architecture, classifier.plan)).encode())
    for name, tensor in classifier.net.state_dict().items():
        if not under(name, (classifier.head,)):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _write(path: Path, features: Features) -> None:
    content = save(
        {"values": features.values, "readable": features.readable}, {"failures": json.dumps(features.failures)}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def _read(path: Path, count: int) -> Features | None:
    """The features in a file; None where there is none, and where it is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            values, readable = file.get_tensor("values"), file.get_tensor("readable")
            failures = parse_json((file.metadata() or {})["failures"])
        if len(values) == len(readable) == count and isinstance(failures, dict):
            return Features(values, readable, failures)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        logger.warning("%s is damaged (%s); its features are computed anew.", path, error)
    return None
