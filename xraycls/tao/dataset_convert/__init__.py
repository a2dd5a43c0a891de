"""TAO's ``dataset_convert``: object labels and a spec to TFRecords."""

from xraycls.tao.dataset_convert.run import Conversion, dataset_convert

__all__ = ["Conversion", "dataset_convert"]
