"""A model of Triton's Python backend: picture and DICOM files as the evaluation of the model draws them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xraycls.data.open import open_content
from xraycls.errors import XrayclsError
from xraycls.inference.exported import read_listing
from xraycls.loaders.render import render


class TritonPythonModel:
    """What Triton calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read how pictures are drawn."""
        (self.file,) = read_listing(Path(args["model_repository"]) / args["model_version"])
        self.recipe = self.file.recipe

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Returns an answer for each request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

        files = pb_utils.get_input_tensor_by_name(request, "file").as_numpy()
        try:
            images = np.stack([self._drawn(content) for content in files.reshape(-1)])[:, None]
        except XrayclsError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(error.message))
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("image", self.file.input_of(images))])

    def _drawn(self, content: bytes) -> npt.NDArray[np.uint8]:
        image = open_content(content, Path("request"))
        return render(image, self.recipe.evaluation_views((image.width, image.height))[0], self.recipe.canvas)
