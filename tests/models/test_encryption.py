"""Encryption, held against hashlib's scrypt and the primitive of the cryptography library."""

import hashlib
import sys

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from xraycls.errors import MissingExtra
from xraycls.models.encryption import MAGIC, WrongKey, decrypt, encrypt, is_encrypted

CONTENT = b"weights" * 100
ENCRYPTED = encrypt(CONTENT, "tlt_encode")


def test_the_format_can_be_read_without_our_code():
    header, salt, nonce = ENCRYPTED[:36], ENCRYPTED[8:24], ENCRYPTED[24:36]
    derived = hashlib.scrypt(b"tlt_encode", salt=salt, n=2**15, r=8, p=1, maxmem=2**26, dklen=32)
    assert header.startswith(b"xraycls\x01")
    assert AESGCM(derived).decrypt(nonce, ENCRYPTED[36:], header) == CONTENT


def test_what_others_encrypted_so_can_be_read():
    header = MAGIC + bytes(range(16)) + bytes(12)
    derived = hashlib.scrypt("Schlüssel".encode(), salt=header[8:24], n=2**15, r=8, p=1, maxmem=2**26, dklen=32)
    assert decrypt(header + AESGCM(derived).encrypt(bytes(12), b"abc", header), "Schlüssel") == b"abc"


def test_the_key_alone_opens_it():
    assert decrypt(ENCRYPTED, "tlt_encode") == CONTENT
    for key in ("tlt_encodf", "tlt_encode ", ""):
        with pytest.raises(WrongKey):
            decrypt(ENCRYPTED, key)


def test_every_file_is_another():
    other = encrypt(CONTENT, "tlt_encode")
    for part in (slice(8, 24), slice(24, 36), slice(36, None)):
        assert other[part] != ENCRYPTED[part]
    assert CONTENT[:16] not in ENCRYPTED


@settings(max_examples=25, deadline=None)
@given(st.integers(8, len(ENCRYPTED) - 1), st.integers(1, 255))
def test_a_change_of_any_byte_is_found(at, change):
    changed = bytearray(ENCRYPTED)
    changed[at] ^= change
    with pytest.raises(WrongKey):
        decrypt(bytes(changed), "tlt_encode")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, len(ENCRYPTED) - 1))
def test_so_is_a_missing_end(length):
    with pytest.raises(WrongKey if length >= 52 else ValueError):
        decrypt(ENCRYPTED[:length], "tlt_encode")


def test_a_file_says_what_it_is():
    assert is_encrypted(ENCRYPTED)
    assert not is_encrypted(b"xraycls\x02" + ENCRYPTED[8:])
    assert not is_encrypted(b"")


def test_without_the_package_the_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(
        MissingExtra, match=r"cryptography is not installed\. Install it with: pip install 'cryptography>="
    ):
        encrypt(CONTENT, "k")
