"""The networks that TLT/TAO specs are read for: one module each, and the table of them."""

from __future__ import annotations

from collections.abc import Mapping

from xraycls.errors import unknown
from xraycls.tao.networks.base import TaoNetwork
from xraycls.tao.networks.faster_rcnn import FASTER_RCNN
from xraycls.tao.networks.ssd import SSD
from xraycls.tao.networks.yolo_v4 import YOLO_V4

NETWORKS: Mapping[str, TaoNetwork] = {each.name: each for each in (SSD, YOLO_V4, FASTER_RCNN)}
"""By the name of the program. The command line, spec-check, kinds of specs and results follow this table."""


def network_of(name: str) -> TaoNetwork:
    """Returns the network of a name or an alias, such as a detector's ``config.network``.

    Raises:
        UsageError: there is no such network.
    """
    for network in NETWORKS.values():
        if name in (network.name, *network.aliases):
            return network
    raise unknown("network", name, NETWORKS)
