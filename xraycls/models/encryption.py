"""Files under a key: AES-256-GCM, the key derived by scrypt (RFC 7914) from what the user types.

A file is a header and what AES-GCM makes of the content. The header says by itself what the file is: 8 bytes that name
the format and its version, 16 bytes of salt and 12 bytes of nonce, both random. It is authenticated with the content,
so a change of any byte of the file is found.
"""

from __future__ import annotations

import os
from typing import Any

from xraycls.errors import MissingExtra

MAGIC = b"xraycls\x01"

_SALT, _NONCE, _TAG = 16, 12, 16  # bytes
_HEADER = len(MAGIC) + _SALT + _NONCE
# A tenth of a second and 32 MiB for every guess. Constants of the version: a file can't ask for more memory than this.
_COST, _BLOCK, _PARALLEL = 2**15, 8, 1


class WrongKey(ValueError):
    """The key isn't the one that the content was encrypted with, or the content was changed since."""


def is_encrypted(content: bytes) -> bool:
    """Whether some bytes, or the first 8 of them, are those of :func:`encrypt`."""
    return content.startswith(MAGIC)


def encrypt(content: bytes, key: str) -> bytes:
    """Content that only the key opens; every call gives other bytes.

    Raises:
        MissingExtra: the package cryptography isn't installed.
    """
    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    header = MAGIC + salt + nonce
    return header + bytes(_cipher(key, salt).encrypt(nonce, content, header))


def decrypt(encrypted: bytes, key: str) -> bytes:
    """The content of :func:`encrypt`.

    Raises:
        ValueError: it is cut short before the content begins.
        WrongKey: another key, or bytes that were changed or cut off.
        MissingExtra: the package cryptography isn't installed.
    """
    if len(encrypted) < _HEADER + _TAG:
        raise ValueError(f"it has {len(encrypted)} bytes, fewer than its header")
    header = encrypted[:_HEADER]
    salt, nonce = header[len(MAGIC) : len(MAGIC) + _SALT], header[-_NONCE:]
    cipher = _cipher(key, salt)
    from cryptography.exceptions import InvalidTag

    try:
        return bytes(cipher.decrypt(nonce, encrypted[_HEADER:], header))
    except InvalidTag as error:
        raise WrongKey from error


def _cipher(key: str, salt: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    except ImportError as error:
        raise MissingExtra("The package cryptography", "tao") from error
    derived = Scrypt(salt=salt, length=32, n=_COST, r=_BLOCK, p=_PARALLEL).derive(key.encode(errors="surrogateescape"))
    return AESGCM(derived)
