"""The networks that TLT/TAO specs are read for: one module each, and the table of them."""

from __future__ import annotations

from collections.abc import Mapping

from xraycls.errors import unknown
from xraycls.models.detection.registry import DETECTORS, attribute
from xraycls.tao.networks.base import TaoNetwork

_SPECS: list[TaoNetwork] = [
    attribute(name) for name in dict.fromkeys(each.specs for each in DETECTORS.values()) if name
]

NETWORKS: Mapping[str, TaoNetwork] = {network.name: network for network in _SPECS}
"""By the name of the program. The command line, spec-check, kinds of specs and results follow this table, which is made
from :data:`xraycls.models.detection.registry.DETECTORS`."""


def is_network(name: str) -> bool:
    """Whether TAO has a network of this name or alias."""
    return any(name in (network.name, *network.aliases) for network in NETWORKS.values())


def network_of(name: str) -> TaoNetwork:
    """Returns the network of a name or an alias, such as a detector's ``config.network``.

    Raises:
        UsageError: there is no such network.
    """
    for network in NETWORKS.values():
        if name in (network.name, *network.aliases):
            return network
    raise unknown("network", name, NETWORKS)
