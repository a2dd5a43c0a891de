"""Layouts of the phantom: our own folder, and those of the public sets whose tables we read."""

from collections.abc import Callable

from xraycls.data.phantom.layouts.base import Layout, PlacedImage, Writer
from xraycls.data.phantom.layouts.coronahack import Coronahack
from xraycls.data.phantom.layouts.folder import Folder
from xraycls.data.phantom.layouts.kermany import Kermany
from xraycls.data.phantom.layouts.nih import Nih
from xraycls.data.phantom.layouts.rsna import Rsna
from xraycls.data.phantom.layouts.siim import Siim

__all__ = ["LAYOUTS", "Folder", "Layout", "Nih", "PlacedImage", "Writer"]

# By name, each made from the seed of the data set.
LAYOUTS: dict[str, Callable[[int], Layout]] = {
    "folder": Folder,
    "siim": Siim,
    "rsna": Rsna,
    "nih": Nih,
    "coronahack": Coronahack,
    "kermany": Kermany,
}
