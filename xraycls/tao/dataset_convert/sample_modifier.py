"""Training samples left out or repeated, by the classes in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from xraycls.tao.dataset_export import SampleModifier
from xraycls.tao.spec import wrong_value


class Modifier:
    """How often each image is written.

    The validation fold is written as it is; without one every fold counts as training. ``max_training_samples`` is
    divided evenly among the training folds, rounded down.

    Args:
        config: the rules.
        spec: the spec's file, for messages.
        folds: how many there are.
        validation_fold: from 0; None when there is none.

    Raises:
        SpecError: a class of the rules that no label maps to.
    """

    def __init__(self, config: SampleModifier, spec: Path, folds: int, validation_fold: int | None) -> None:
        self.config, self.validation_fold = config, validation_fold
        targets = set(config.source_to_target_class_mapping.values())
        for name in ("filter_samples_containing_only", "dominant_target_classes"):
            strange = set(getattr(config, name)) - targets
            if strange:
                message = f"{name} has {', '.join(sorted(strange))}, which source_to_target_class_mapping doesn't"
                raise wrong_value(spec, f"sample_modifier_config.{name}", message, "Map a label to it")
        training = max(folds - (validation_fold is not None), 1)
        self._most = config.max_training_samples // training if config.max_training_samples else None
        self._written: Counter[int] = Counter()

    def times(self, labels: Iterable[str], fold: int) -> int:
        """How often the next image of a fold is written.

        Args:
            labels: of its objects, in small letters.
            fold: its number.
        """
        if fold == self.validation_fold:
            return 1
        mapping = self.config.source_to_target_class_mapping
        counts = Counter(mapping[label] for label in labels if label in mapping)
        times = 0 if self._is_filtered(counts) else 1 + self._duplicates(counts)
        if self._most is not None:
            times = min(times, self._most - self._written[fold])
        self._written[fold] += times
        return times

    def _is_filtered(self, counts: Counter[str]) -> bool:
        return len(counts) == 1 and next(iter(counts)) in self.config.filter_samples_containing_only

    def _duplicates(self, counts: Counter[str]) -> int:
        dominant, least = self.config.dominant_target_classes, self.config.minimum_target_class_imbalance
        rare = [name for name in counts if name not in dominant]
        is_imbalanced = any(counts[r] > counts[d] * least.get(r, 1.0) for r in rare for d in dominant)
        return self.config.num_duplicates if is_imbalanced else 0
