"""Data sets from Kaggle: fetched over unreliable lines, and unpacked with care."""

from xraycls.data.download.catalogue import CATALOGUE, Source, source_named
from xraycls.data.download.extract import Unpacked, unpack
from xraycls.data.download.job import Downloaded, Stages, download
from xraycls.data.download.members import Limits
from xraycls.data.download.retry import Patience

__all__ = [
    "CATALOGUE",
    "Downloaded",
    "Limits",
    "Patience",
    "Source",
    "Stages",
    "Unpacked",
    "download",
    "source_named",
    "unpack",
]
