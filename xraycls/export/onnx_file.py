"""ONNX files of graphs: weights inside, any batch, checked by onnx itself, which only this file imports."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from xraycls.data.files import atomic_write
from xraycls.errors import MissingExtra, UsageError, XrayclsError
from xraycls.export.graph import Graph
from xraycls.models.files import METADATA_KEY

INPUT = "image"
BATCH = "batch"
"""Names of the input, and of its first dimension."""

_EXAMPLES = 2  # pictures while tracing: torch takes sizes of 0 and 1 for constants
_SYMBOL = re.compile(r"\bs\d+\b")
_INPUTS = {"uint8": (1, torch.uint8), "float": (1, torch.float32), "bgr": (3, torch.float32)}
"""Channels and number format by kind."""


def onnx_of(graph: Graph, kind: str, metadata: Mapping[str, Any]) -> Any:
    """Returns a graph as a model of ONNX, with a symbolic batch.

    Args:
        graph: in evaluation mode.
        kind: of input, see :class:`xraycls.inference.exported.ExportedFile`.
        metadata: travels with the model as JSON.

    Raises:
        MissingExtra: onnx or onnxscript isn't installed.
        XrayclsError: an operator has no counterpart in ONNX, or the network depends on the size of its batch.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch's exporter needs it)
    except ImportError as error:
        raise MissingExtra("ONNX", "export") from error
    channels, number = _INPUTS[kind]
    example = torch.zeros(_EXAMPLES, channels, graph.height, graph.width, dtype=number)
    shapes = ({0: torch.export.Dim(BATCH, min=1, max=2**16)},)
    with torch.no_grad(), _quiet():
        try:
            program = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=[INPUT],
                output_names=list(graph.names),
                opset_version=graph.opset,
                verbose=False,
            )
        except Exception as error:  # of a dozen classes, each with pages of text
            raise _explained(graph, example, error) from error
    assert program is not None
    model = program.model_proto
    if not _has_symbolic_batch(model):
        raise XrayclsError(_why_static(graph, example, shapes))
    _tidy(model)
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata, ensure_ascii=False)})
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise XrayclsError(f"The exported graph isn't valid ONNX: {str(error).splitlines()[0]}") from error
    return model


def write_onnx(model: Any, path: Path) -> None:
    """Write a model of ONNX as one file, atomically."""
    content = model.SerializeToString()
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def before_plugin(model: Any) -> Any:
    """Returns a model that ends where TensorRT's plugin begins, with the outputs boxes and scores."""
    import onnx

    cut = type(model)()
    cut.CopyFrom(model)
    plugin = next(node for node in cut.graph.node if node.domain == "TRT")
    cut.graph.node.remove(plugin)
    del cut.graph.output[:]
    for name, source in zip(("boxes", "scores"), plugin.input, strict=True):
        cut.graph.node.append(onnx.helper.make_node("Identity", [source], [name]))
        cut.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return cut


def array_of(initializer: Any) -> npt.NDArray[Any]:
    """Returns the numbers of a constant of a graph."""
    import onnx.numpy_helper

    numbers: npt.NDArray[Any] = onnx.numpy_helper.to_array(initializer)
    return numbers


def initializer_of(name: str, numbers: npt.NDArray[Any]) -> Any:
    """Returns a constant of a graph."""
    import onnx.numpy_helper

    return onnx.numpy_helper.from_array(np.ascontiguousarray(numbers), name)


def shapes_of(model: Any) -> dict[str, list[int | str]]:
    """Returns the shape of each output, with names for what depends on the input."""
    return {
        value.name: [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in _dims(value)]
        for value in model.graph.output
    }


def _dims(value: Any) -> Any:
    return value.type.tensor_type.shape.dim


def _has_symbolic_batch(model: Any) -> bool:
    """Whether the first dimension of all inputs and outputs is a name."""
    return all(_dims(value)[0].dim_param for value in (*model.graph.input, *model.graph.output))


def _tidy(model: Any) -> None:
    """Name the batch, and take out the notes of torch's exporter, which hold paths of this machine."""
    model.graph.ClearField("value_info")  # the tracer doesn't know how many boxes suppression keeps; runtimes infer it
    for value in (*model.graph.input, *model.graph.output):
        for dim in _dims(value):
            if dim.dim_param:
                dim.dim_param = _SYMBOL.sub(BATCH, dim.dim_param)
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        value.ClearField("metadata_props")
    model.graph.ClearField("metadata_props")
    model.producer_name = "xraycls"


def _why_static(graph: Graph, example: torch.Tensor, shapes: Any) -> str:
    reason = "a layer takes the size of the batch for a constant"
    try:
        with _quiet():
            torch.export.export(graph, (example,), dynamic_shapes=shapes, strict=False)
    except Exception as error:  # what it says is what is wanted
        reason = str(error).strip().splitlines()[0]
    return f"The exported file would take {_EXAMPLES} pictures at a time and no other number: {reason}"


def _explained(graph: Graph, example: torch.Tensor, error: Exception) -> XrayclsError:
    """One sentence that names the operator and its layer, where the exporter has pages of text."""
    operator = re.search(r"torch\.ops\.(\w+\.\w+\.\w+)", f"{error} {error.__cause__}")
    if operator is None:
        return XrayclsError(f"The network can't be exported: {str(error).strip().splitlines()[0]}")
    return UsageError(
        f"The operator {operator[1]}{_layer_of(graph, example, operator[1])} has no counterpart in ONNX",
        "Choose another network, or replace the layer by one of standard operators",
    )


def _layer_of(graph: Graph, example: torch.Tensor, operator: str) -> str:
    """The innermost layer that runs an operator, in words; empty where it can't be told."""
    with contextlib.suppress(Exception):
        program = torch.export.export(graph, (example,), strict=False).run_decompositions()
        for node in program.graph.nodes:
            if str(node.target) == operator and (stack := node.meta.get("nn_module_stack")):
                path, _ = list(stack.values())[-1]
                return " in the layer " + str(path).removeprefix("L['self'].")
    return ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch's exporter prints and warns of to itself; errors tell what matters."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
