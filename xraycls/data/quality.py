"""Pictures that nobody should train on, by rules with reasons.

Thresholds keep a good distance from real films: over 6,000 radiographs of children and adults have means of 58–222 grey
levels, standard deviations of 19 and more, no chroma and shorter sides of 127 pixels and more.
"""

from __future__ import annotations

from collections.abc import Sequence

from xraycls.data.facts import PictureFacts
from xraycls.data.pose import pose_of
from xraycls.errors import DataError

UNREADABLE = "unreadable"
"""The reason against a picture that can't be decoded."""
TINY = 100
"""Pixels; a picture whose shorter side has fewer is tiny."""
BLANK = 6.0
"""Standard deviation of the grey levels, 0–255; a picture below is blank."""
DARK, BRIGHT = 30.0, 230.0
"""Mean grey levels, 0–255; a picture outside them is too dark or too bright."""
COLOUR = 12.0
"""Mean chroma, grey levels; a picture above is a photograph or a drawing, one with a coloured arrow stays below."""


def quality_reasons(facts: PictureFacts) -> tuple[str, ...]:
    """What speaks against a picture: blank, too dark, too bright, tiny, colour, rotated, inverted; () for a good film.

    "rotated" is a quarter or half a turn, "inverted" black for white; :func:`xraycls.data.pose.pose_of` tells both.
    """
    reasons = ["tiny"] if min(facts.width, facts.height) < TINY else []
    if facts.contrast < BLANK:
        return (*reasons, "blank")
    if facts.mean < DARK:
        reasons.append("too dark")
    if facts.mean > BRIGHT:
        reasons.append("too bright")
    if facts.colour > COLOUR:
        return (*reasons, "colour")
    pose = pose_of(facts.thumbnail)
    if pose != "upright":
        reasons.append("inverted" if pose == "inverted" else "rotated")
    return tuple(reasons)


def all_reasons(pictures: Sequence[PictureFacts | DataError]) -> list[tuple[str, ...]]:
    """The reasons of every picture of a data set, ``UNREADABLE`` and "duplicate" among them.

    Of files with the same content all but the first are duplicates.
    """
    found: list[tuple[str, ...]] = []
    seen: set[str] = set()
    for picture in pictures:
        if isinstance(picture, DataError):
            found.append((UNREADABLE,))
            continue
        repeated = picture.digest in seen
        seen.add(picture.digest)
        found.append(quality_reasons(picture) + (("duplicate",) if repeated else ()))
    return found
