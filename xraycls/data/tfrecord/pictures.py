"""Pictures whose files lie in TFRecords, where TAO's converter puts them for SSD."""

from __future__ import annotations

from xraycls.data.tfrecord.example import decode_example
from xraycls.data.tfrecord.files import read_record
from xraycls.errors import DataError
from xraycls.types import ENCODED, Sample


def encoded_picture(sample: Sample) -> bytes:
    """The file of a picture in a record; raises DataError where there is none."""
    offset = sample.row or 0
    try:
        (encoded,) = decode_example(read_record(sample.path, offset))[ENCODED]
    except (ValueError, KeyError) as error:
        raise DataError(f"The record at byte {offset} of {sample.path} holds no picture", sample.path) from error
    return bytes(encoded)
