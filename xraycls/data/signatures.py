"""What the first bytes of a file say that it is, whatever its name."""

from __future__ import annotations

import re

HEAD = 1024
"""Bytes at the start of a file that are enough to tell."""

_PICTURES = re.compile(
    rb"\xff\xd8\xff"  # JPEG
    rb"|\x89PNG\r\n\x1a\n"
    rb"|BM"
    rb"|II[*+]\0|MM\0[*+]"  # TIFF, BigTIFF
    rb"|RIFF.{4}WEBP"
    rb"|GIF8[79]a"
    rb"|\0\0\0\x0cjP  |\xff\x4f\xff\x51"  # JPEG 2000: file, bare codestream
    rb"|.{4}ftyp(?:avi[fs]|mif1|msf1)"  # AVIF
    rb"|P[1-7Ff]\s"  # PNM, PAM, PFM
    rb"|\x59\xa6\x6a\x95",  # Sun raster
    re.DOTALL,
)

# Signatures of one or two letters: text begins with them as well, so without a picture's suffix they tell nothing.
_WEAK = re.compile(rb"BM|P[1-7Ff]\s")

_OTHERS = (
    ("HEIC", re.compile(rb".{4}ftyp(?:hei[cfmsx]|hev[cmsx])", re.DOTALL)),
    ("JPEG XL", re.compile(rb"\xff\x0a|\0\0\0\x0cJXL ")),
    ("video", re.compile(rb".{4}ftyp|.{4}(?:moov|mdat)|RIFF.{4}AVI |\x1aE\xdf\xa3|\0\0\x01\xba", re.DOTALL)),
    ("PDF", re.compile(rb"%PDF")),
    ("archive", re.compile(rb"PK(?:\x03\x04|\x05\x06)|Rar!|7z\xbc\xaf|\x1f\x8b|BZh|\xfd7zXZ|.{257}ustar", re.DOTALL)),
    ("NIfTI volume", re.compile(rb".{344}(?:n\+1|ni1)\0", re.DOTALL)),
    ("volume", re.compile(rb"NRRD|ObjectType")),
    ("array", re.compile(rb"\x93NUMPY|\x89HDF")),
    ("Photoshop picture", re.compile(rb"8BPS")),
    ("icon", re.compile(rb"\0\0[\x01\x02]\0")),
    ("EXR picture", re.compile(rb"v/1\x01")),
    ("Radiance picture", re.compile(rb"#\?R")),
    ("web page", re.compile(rb"\s*<(?:!DOCTYPE html|html|svg|\?xml)", re.IGNORECASE)),
    ("program", re.compile(rb"\x7fELF|MZ")),
    ("Git LFS pointer", re.compile(rb"version https://git-lfs")),
)


def is_picture(head: bytes, *, sure: bool = False) -> bool:
    """Whether bytes begin like a picture that is read here, DICOM aside.

    Args:
        head: the first ``HEAD`` bytes, or all of a shorter file.
        sure: count only signatures that no text begins with, for a file without a picture's suffix.
    """
    return bool(_PICTURES.match(head)) and not (sure and _WEAK.match(head))


def kind_of(head: bytes) -> str | None:
    """What kind of file it is that is no picture here, such as "HEIC" or "PDF"; None where nothing tells.

    >>> kind_of(b"%PDF-1.7"), kind_of(b"PK\\x03\\x04"), kind_of(b"something")
    ('PDF', 'archive', None)
    """
    return next((kind for kind, signature in _OTHERS if signature.match(head)), None)


def is_text(head: bytes) -> bool:
    """Whether bytes look like text: no control characters but blanks, and UTF-8 up to the end of what was read."""
    if re.search(rb"[\x00-\x08\x0e-\x1f\x7f]", head):
        return False
    try:
        head[:-3].decode() if len(head) >= HEAD else head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 6  # a character cut in two
    return True
