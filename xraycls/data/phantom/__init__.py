"""The phantom: chest radiographs drawn by program, for when no data set is given.

They are synthetic: good for trying things out and for tests, worth nothing for medicine.
"""

from xraycls.data.phantom.draw import Radiograph, draw_radiograph
from xraycls.data.phantom.write import phantom_table, write_phantom

__all__ = ["Radiograph", "draw_radiograph", "phantom_table", "write_phantom"]
