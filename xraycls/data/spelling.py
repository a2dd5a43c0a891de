"""Names of classes: one where a source spells it in several ways (NORMAL, Normal), and their order."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

logger = logging.getLogger(__name__)

_HEALTHY = frozenset({"normal", "healthy", "negative", "negative for pneumonia", "no pneumonia", "no finding"})


def one_spelling(names: Iterable[str], source: Path) -> dict[str, str]:
    """From each name to the commonest of those that differ from it in upper and lower case only.

    Of two that are as common, the first in the order of the alphabet. A warning names what is taken as one.

    Args:
        names: a class name for every picture.
        source: where they stand, for the warning.
    """
    counts = Counter(names)
    alike: dict[str, list[str]] = defaultdict(list)
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        alike[name.casefold()].append(name)
    for spellings in alike.values():
        if len(spellings) > 1:
            listed = ", ".join(f"{name} ({counts[name]:,})" for name in spellings)
            logger.warning("%s spells one class in several ways: %s; all count as %s.", source, listed, spellings[0])
    return {name: alike[name.casefold()][0] for name in counts}


def is_healthy(name: str) -> bool:
    """Whether a class is that of pictures without a finding: "Normal", "No Finding" and the like."""
    return name.casefold().replace("_", " ").strip() in _HEALTHY


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names once each: numbers by value, others by the alphabet but healthy ones first.

    Of two classes the second is the positive one, and COVID comes before NORMAL in the alphabet.

    >>> in_order(["NORMAL", "COVID"]), in_order(["10", "2"])
    (('NORMAL', 'COVID'), ('2', '10'))
    """
    listed = set(names)
    if all(name.isdecimal() for name in listed):
        return tuple(sorted(listed, key=lambda name: (int(name), name)))
    return tuple(sorted(listed, key=lambda name: (not is_healthy(name), name)))
