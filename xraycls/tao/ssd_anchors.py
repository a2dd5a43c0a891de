"""The default boxes of a spec, by the name that this module had."""

from xraycls.tao.networks.ssd_anchors import read_anchors

__all__ = ["read_anchors"]
