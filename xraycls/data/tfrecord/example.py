"""``tf.train.Example``: a record's named lists of bytes, floats or integers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from xraycls.data.protobuf import FieldShape, Schema, parse_message

if TYPE_CHECKING:
    from google.protobuf.message import Message

Floats: TypeAlias = npt.NDArray[np.float32]
Integers: TypeAlias = npt.NDArray[np.int64]
Feature: TypeAlias = list[bytes] | Floats | Integers
Example: TypeAlias = Mapping[str, Feature]
"""Features by name. An empty list keeps its type: that of the array, or bytes for a list."""


def encode_example(example: Example) -> bytes:
    """The record of an example: byte for byte the same for the same features, whatever their order."""
    message = _message()()
    features = message.features.feature  # type: ignore[attr-defined]
    for name, values in example.items():
        feature = features[name]
        if isinstance(values, list):
            chosen = feature.bytes_list
        else:
            chosen = feature.float_list if values.dtype.kind == "f" else feature.int64_list
        chosen.SetInParent()  # an empty list has a type, too
        chosen.value.extend(values if isinstance(values, list) else values.tolist())
    return message.SerializeToString(deterministic=True)


def decode_example(record: bytes) -> dict[str, Feature]:
    """The features of a record, by name in alphabetical order; a feature without a type is an empty list of bytes.

    Raises:
        ValueError: the bytes are no example.
    """
    features = parse_message(_message(), record).features.feature
    return {name: _values(features[name]) for name in sorted(features)}


def _values(feature: Message) -> Feature:
    kind = feature.WhichOneof("kind")
    if kind is None:
        return []
    values = getattr(feature, kind).value
    if kind == "bytes_list":
        return list(values)
    return np.array(values, np.float32) if kind == "float_list" else np.array(values, np.int64)


@cache
def _message() -> type[Message]:
    """TensorFlow's tf.train.Example. Numbers and types alone travel in a file, so the package may be our own."""
    schema, package = Schema(), __package__
    for name, scalar in (("BytesList", "bytes"), ("FloatList", "float"), ("Int64List", "int64")):
        schema.add(f"{package}.{name}", [FieldShape("value", scalar, repeated=True)])
    kinds = (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List"))
    schema.add(f"{package}.Feature", [FieldShape(name, f"{package}.{kind}", oneof="kind") for name, kind in kinds])
    schema.add(f"{package}.Features", [FieldShape("feature", f"{package}.Feature", key="string")])
    return schema.add(f"{package}.Example", [FieldShape("features", f"{package}.Features")])
