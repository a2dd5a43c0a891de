"""A model of Triton's Python backend: onnxruntime computes the file beside it, on the CPU. It needs no xraycls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


class TritonPythonModel:
    """What Triton calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the file."""
        import onnxruntime

        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Returns an answer for each request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

        image = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        found = self.session.run(self.names, {"image": image})
        tensors = [pb_utils.Tensor(name, values) for name, values in zip(self.names, found, strict=True)]
        return pb_utils.InferenceResponse(output_tensors=tensors)
