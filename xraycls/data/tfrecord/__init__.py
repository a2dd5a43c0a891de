"""TFRecord files, the examples in them, and tables of samples read from them."""

from xraycls.data.tfrecord.example import Example, decode_example, encode_example
from xraycls.data.tfrecord.files import is_tfrecord, read_tfrecord, write_index, write_tfrecord
from xraycls.data.tfrecord.table import detect_tfrecords, read_tfrecords

__all__ = [
    "Example",
    "decode_example",
    "detect_tfrecords",
    "encode_example",
    "is_tfrecord",
    "read_tfrecord",
    "read_tfrecords",
    "write_index",
    "write_tfrecord",
]
