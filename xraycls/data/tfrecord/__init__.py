"""TFRecord files and the examples in them."""

from xraycls.data.tfrecord.example import Example, decode_example, encode_example
from xraycls.data.tfrecord.files import is_tfrecord, read_tfrecord, write_index, write_tfrecord

__all__ = [
    "Example",
    "decode_example",
    "encode_example",
    "is_tfrecord",
    "read_tfrecord",
    "write_index",
    "write_tfrecord",
]
