"""The spec of SSD, by the name that this module had."""

from xraycls.tao.networks.ssd_spec import AugmentationConfig, DataSource, SSDConfig, SSDSpec

__all__ = ["AugmentationConfig", "DataSource", "SSDConfig", "SSDSpec"]
