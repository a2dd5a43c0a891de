"""The checks of SSD, by the name that this module had."""

from xraycls.tao.networks.ssd import (
    SOURCES,
    check_evaluation,
    check_ssd,
    check_suppression,
    plain_network,
    range_of,
    validation_sources,
)
from xraycls.tao.networks.ssd_spec import LAYERS

__all__ = [
    "LAYERS",
    "SOURCES",
    "check_evaluation",
    "check_ssd",
    "check_suppression",
    "plain_network",
    "range_of",
    "validation_sources",
]
