"""One name for a class that a source spells in several ways: NORMAL, Normal, normal."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

logger = logging.getLogger(__name__)


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
