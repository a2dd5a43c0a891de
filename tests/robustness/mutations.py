"""Damage to files: bytes flipped, cut and repeated, numbers and words replaced, values of trees swapped for others.

Where a format guards its content by checksums, the content is damaged and the checksums are made to fit: what stands
behind them would never be reached otherwise.
"""

import copy
import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from xraycls.data.tfrecord.example import Feature, decode_example, encode_example
from xraycls.data.tfrecord.files import _masked_crc32c

NUMBERS = (b"0", b"-1", b"1e999", b"nan", b"-inf", b"99999999999999999999", b"1e-320", b"2147483648", b"", b"0x10")
WORDS = (
    b"\0",
    b"\xff\xfe",
    b"\xed\xb0\x80",  # half of a surrogate pair
    b"\x1b]0;title\x07\x1b[31m",
    b"\r\n",
    b"=cmd|' /C calc'!A0",
    b"../../../etc/passwd",
    b"/dev/zero",
    b"a" * 300,
    b"[" * 3000,
    b'{"a":' * 3000,
    b"2024-13-45",
    b"&a [*a, *a]",
    b"null",
    b"true",
    b"'",
    b'"',
    b"<!ENTITY a 'a'>",
)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 0.5, 1e308, float("nan"), float("inf"), 10**30, -(10**30), 2**31, 2**63),
    *("", "a\0b", "\ud800", "é" * 300, "a" * 3000, "/dev/zero", "../..", "2024-01-01"),
    *([], {}, [[]], [None] * 50, {"a": {}}, [[[[[[[[[[1]]]]]]]]]]),
)
FEATURES: tuple[Feature, ...] = (
    *([], [b""], [b"a\0b"], [b"\xff\xfe"], [b"../../etc/passwd"], [b"/dev/zero"], [b"a" * 300]),
    *(np.array(values, np.float32) for values in ([], [np.nan], [np.inf, -1.0])),
    *(np.array(values, np.int64) for values in ([], [-1], [2**62])),
)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_WORD = re.compile(rb"[A-Za-z_]{2,}")


def of_bytes(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """A file with one to four faults, most of them in its first half kilobyte, where headers are."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        content = draw.choice(_FAULTS)(content, others, draw)
    return content


def _position(content: bytes, draw: random.Random) -> int:
    return draw.randrange(min(len(content), 512) if draw.random() < 0.6 else len(content)) if content else 0


def _flip(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 3, 16))):
        if changed:
            changed[_position(content, draw)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _extreme(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    at, size = _position(content, draw), draw.choice((1, 2, 4, 8))
    return content[:at] + draw.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * size + content[at + size :]


def _cut(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    at = _position(content, draw)
    return content[:at] + content[at + draw.randint(1, max(len(content) // 8, 1)) :]


def _truncate(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _repeat(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    at = _position(content, draw)
    piece = content[at : at + draw.randint(1, 64)]
    return content[:at] + piece * draw.choice((2, 3, 50)) + content[at:]


def _insert(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    at = _position(content, draw)
    return content[:at] + draw.choice((draw.choice(WORDS), draw.randbytes(8))) + content[at:]


def _splice(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    other = draw.choice(others)
    return content[: _position(content, draw)] + other[_position(other, draw) :]


def _replace(pattern: re.Pattern[bytes], choices: Sequence[bytes]) -> Callable[..., bytes]:
    def replaced(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
        found = list(pattern.finditer(content[:100_000]))
        if not found:
            return _flip(content, others, draw)
        each = draw.choice(found)
        return content[: each.start()] + draw.choice(choices) + content[each.end() :]

    return replaced


_FAULTS = (
    _flip,
    _flip,
    _extreme,
    _cut,
    _truncate,
    _repeat,
    _insert,
    _splice,
    _replace(_NUMBER, NUMBERS),
    _replace(_NUMBER, NUMBERS),
    _replace(_WORD, WORDS),
)


def of_tree(content: Any, draw: random.Random, values: Sequence[Any] = VALUES) -> Any:
    """Nested lists and mappings with one to three of their values replaced, left out or doubled."""
    content = copy.deepcopy(content)
    for _ in range(draw.choice((1, 1, 2, 3))):
        content = _changed(content, draw, values)
    return content


def _changed(node: Any, draw: random.Random, values: Sequence[Any]) -> Any:
    if not isinstance(node, dict | list) or not node or draw.random() < 0.1:
        return draw.choice(values)
    if isinstance(node, dict):
        key = draw.choice(list(node))
        if draw.random() < 0.1:
            return {name: value for name, value in node.items() if name != key}
        return {**node, key: _changed(node[key], draw, values)}
    at = draw.randrange(len(node))
    if draw.random() < 0.1:
        return node[:at] + node[at + 1 :]
    return [*node[:at], _changed(node[at], draw, values), *node[at + 1 :]]


def of_json(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """A JSON text with other values, or damaged as any file."""
    if draw.random() < 0.3:
        return of_bytes(content, others, draw)
    return json.dumps(of_tree(json.loads(content), draw)).encode()


def of_safetensors(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """A safetensors file with another header, with other text in its metadata, or damaged as any file."""
    kind = draw.random()
    if kind < 0.3:
        return of_bytes(content, others, draw)
    length = int.from_bytes(content[:8], "little")
    header, tensors = json.loads(content[8 : 8 + length]), content[8 + length :]
    if kind < 0.5:
        header = of_tree(header, draw)
    else:
        metadata = header.setdefault("__metadata__", {})
        name = "xraycls" if "xraycls" in metadata else draw.choice(list(metadata) or ["xraycls"])
        try:
            metadata[name] = json.dumps(of_tree(json.loads(metadata.get(name, "{}")), draw))
        except ValueError:
            metadata[name] = str(draw.choice(VALUES)).encode(errors="replace").decode()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + tensors


def of_state(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """A training state of torch with other values, or damaged as any file."""
    if draw.random() < 0.5:
        return of_bytes(content, others, draw)
    values = (*VALUES, torch.zeros(2), torch.zeros(0), torch.tensor([float("nan")]))
    buffer = io.BytesIO()
    torch.save(of_tree(torch.load(io.BytesIO(content), weights_only=True), draw, values), buffer)
    return buffer.getvalue()


def of_records(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """A TFRecord file with a damaged record and fitting checksums, or damaged as any file."""
    if draw.random() < 0.2:
        return of_bytes(content, others, draw)
    records, at = [], 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        records.append(content[at + 12 : at + 12 + length])
        at += length + 16
    number = draw.randrange(len(records))
    records[number] = of_bytes(records[number], records, draw) if draw.random() < 0.3 else _other(records[number], draw)
    checksum, made = _masked_crc32c(), []
    for record in records:
        length = struct.pack("<Q", len(record))
        made += [length, struct.pack("<I", checksum(length)), record, struct.pack("<I", checksum(record))]
    return b"".join(made)


def _other(record: bytes, draw: random.Random) -> bytes:
    """An example of TensorFlow with other features: of another type, length or value, or one fewer."""
    features = decode_example(record)
    name, kind = draw.choice(sorted(features)), draw.random()
    values = features[name]
    if kind < 0.1:
        del features[name]
    elif kind < 0.3:
        features[name] = 2 * values if isinstance(values, list) else np.concatenate([values, values])
    elif kind < 0.7 and not isinstance(values, list) and len(values):
        extremes = (np.nan, np.inf, -1e30, 1e30, -1, 0) if values.dtype.kind == "f" else (-(2**62), 2**62, -1, 0)
        values[draw.randrange(len(values))] = draw.choice(extremes)
    else:
        features[name] = draw.choice(FEATURES)
    return encode_example(features)


def of_zip(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """A zip archive with a member that is damaged, renamed, doubled or left out, or damaged as any file.

    Archives of NumPy and of torch are such files, too.
    """
    if draw.random() < 0.3 or not content.startswith(b"PK"):
        return of_bytes(content, others, draw)
    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        members = [(info.filename, bundle.read(info)) for info in bundle.infolist()]
    at, kind = draw.randrange(len(members)), draw.random()
    name, inner = members[at]
    if kind < 0.7:
        members[at] = name, of_bytes(inner, [each for _, each in members], draw)
    elif kind < 0.9:
        members[at] = draw.choice((*WORDS, name.encode())).decode("latin-1"), inner
        members += [(name, inner)] * draw.randrange(2)
    else:
        del members[at]
    buffer, method = io.BytesIO(), draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(buffer, "w") as bundle:
        for each, held in members:
            info = zipfile.ZipInfo()
            info.filename = each or "\0"  # as it is: ZipInfo(name) would cut it at a NUL, and refuses what is left
            bundle.writestr(info, held, method)
    return buffer.getvalue()
