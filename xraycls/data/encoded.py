"""Pictures whose files lie within others: in a record of a TFRecord file, or in a row of a Parquet shard."""

from __future__ import annotations

from xraycls.data.parquet import SUFFIX, picture_in_parquet
from xraycls.data.tfrecord.pictures import encoded_picture
from xraycls.types import ENCODED, Sample


def picture_within(sample: Sample) -> bytes | None:
    """The file of a picture that lies within another; None for pictures that don't.

    Raises:
        DataError: there is none, or it can't be read.
    """
    if sample.member == ENCODED:
        return encoded_picture(sample)
    return picture_in_parquet(sample) if sample.member and sample.path.suffix.lower() == SUFFIX else None
