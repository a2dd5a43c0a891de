"""The program `tlt`: command lines of TLT 2, TLT 3 and TAO, as those of `xraycls`.

``tlt ssd train -e …``, ``tlt train ssd -e …`` and ``tlt tlt-train ssd -e …`` are the same, and so is
``tlt-train ssd -e …`` where ``tlt-train`` is a link to ``tlt``; likewise ``tao`` and ``tao model ssd train``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import PurePath

from xraycls.tao.networks import NETWORKS

_VERBS = {
    "dataset-convert": "dataset_convert",
    "dataset_convert": "dataset_convert",
    "train": "train",
    "evaluate": "evaluate",
    "prune": "prune",
    "infer": "inference",
    "inference": "inference",
    "export": "export",
}
_WITHOUT_NETWORK = {"dataset_convert"}  # of one kind for all
_LAUNCHERS = ("tlt", "tao", "model")
_NETWORKS = {alias: network.name for network in NETWORKS.values() for alias in network.aliases}


def translated(program: str, arguments: Sequence[str]) -> list[str]:
    """The arguments of `xraycls` for a command line of TLT or TAO.

    Args:
        program: what was called, such as "tlt" or "/usr/bin/tlt-train".
        arguments: after it. Whatever isn't a word of TLT or TAO is passed on as it is.
    """
    words = [PurePath(program).stem, *arguments]
    while words and words[0] in _LAUNCHERS:
        words = words[1:]
    first = words[0].removeprefix("tlt-") if words else ""
    has_network = True
    if first in _VERBS:  # TLT 2: the verb comes before the network, which its prune doesn't name
        has_network = len(words) > 1 and not words[1].startswith("-")
        network = words[1] if has_network else "ssd"
        words = [network, _VERBS[first], *words[1 + has_network :]]
    if words:
        words = [_NETWORKS.get(words[0], words[0]), *words[1:]]
    if len(words) > 1 and _VERBS.get(words[1]) in _WITHOUT_NETWORK:
        named = words[:1] if has_network and words[0] in NETWORKS else []  # whose commands take the launcher's flags
        return [*named, _VERBS[words[1]], *words[2:]]
    return words


def main() -> None:
    """Run `xraycls` with what `tlt` was given."""
    from xraycls.cli import main as run

    run(translated(sys.argv[0], sys.argv[1:]))
