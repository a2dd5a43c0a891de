from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xraycls.data.image import GreyImage

is_fast: int

def warp(
    pictures: Sequence[GreyImage], matrices: npt.NDArray[np.float64], outs: Sequence[GreyImage], fill: int, /
) -> None: ...
def normalize(
    pictures: GreyImage,
    out: npt.NDArray[np.float32],
    means: npt.NDArray[np.float32],
    factors: npt.NDArray[np.float32],
    /,
) -> None: ...
