"""Arranging a data set: its pictures sorted into folders by split and class, bad ones set apart with reasons."""

from xraycls.data.arrange.arrange import METADATA, Arranged, arrange
from xraycls.data.arrange.coronahack import read_coronahack

__all__ = ["METADATA", "Arranged", "arrange", "read_coronahack"]
