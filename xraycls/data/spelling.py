"""Names of classes: one where a source spells it in several ways (NORMAL, Normal), and their order."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from xraycls.data.class_names import is_healthy, plain_class, positive_of

__all__ = ["in_order", "is_healthy", "one_spelling"]

logger = logging.getLogger(__name__)


def one_spelling(names: Iterable[str], source: Path) -> dict[str, str]:
    """From each name to the commonest of those that differ from it in case, blanks and punctuation only.

    Of two that are as common, the first in the order of the alphabet. A warning names what is taken as one.

    Args:
        names: a class name for every picture.
        source: where they stand, for the warning.
    """
    counts = Counter(names)
    alike: dict[str, list[str]] = defaultdict(list)
    for name in sorted(
        counts, key=lambda name: (name != plain_class(name) or not name.isdecimal(), -counts[name], name)
    ):
        alike[plain_class(name)].append(name)
    for spellings in alike.values():
        if len(spellings) > 1:
            listed = ", ".join(f"{name} ({counts[name]:,})" for name in spellings)
            logger.warning("%s spells one class in several ways: %s; all count as %s.", source, listed, spellings[0])
    return {name: alike[plain_class(name)][0] for name in counts}


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names once each: numbers by value, others by the alphabet but healthy ones first.

    Of two classes the second is the positive one, as :func:`xraycls.data.class_names.positive_of` tells.

    >>> in_order(["NORMAL", "COVID"]), in_order(["10", "2"]), in_order(["Non-COVID", "COVID"])
    (('NORMAL', 'COVID'), ('2', '10'), ('Non-COVID', 'COVID'))
    """
    listed = set(names)
    if len(listed) == 2:
        positive, _ = positive_of(sorted(listed))
        return (*(listed - {positive}), positive)
    if all(name.isdecimal() for name in listed):
        return tuple(sorted(listed, key=lambda name: (int(name), name)))
    return tuple(sorted(listed, key=lambda name: (not is_healthy(name), name)))
