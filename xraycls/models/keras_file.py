"""Weights in Keras' HDF5 layout, as NVIDIA's TAO 5 has them, read and written as data: no code of a file runs.

A file may hold a whole model (``model.save``: the graph as JSON and the weights) or weights alone (``save_weights``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xraycls.data.documents import parse_json
from xraycls.data.files import atomic_write
from xraycls.errors import MissingExtra, WeightsError
from xraycls.models.hdf5_check import require_end

MAGIC = b"\x89HDF\r\n\x1a\n"
_MOST_BYTES = 2 << 30  # of all weights; the largest network of TAO has half a gigabyte
_MOST_TEXT = 64 << 20  # characters of the graph
_SAFE_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32"}
_WRAPPER = "TimeDistributed"
_BACKEND, _VERSION = "tensorflow", "2.2.4"  # of Keras, as TAO 5 has it
SCALE = "scaling_factor"
"""Kind of the weight that TAO's layers QDQ have, which quantise outputs."""

_FETCH_AGAIN = "Fetch or copy it again"


@dataclass(frozen=True, slots=True)
class KerasLayer:
    """A layer of a file.

    Attributes:
        name: its own; of a layer inside ``TimeDistributed``, that of the layer.
        kind: Keras' class, such as "Conv2D"; "" in files of weights alone.
        weights: float32 by kind, in Keras' layouts: ``kernel`` [kh, kw, in, out], ``depthwise_kernel``
            [kh, kw, in, 1], ``bias``, ``gamma``, ``beta``, ``moving_mean``, ``moving_variance`` [out].
        inputs: names of the layers whose outputs it takes.
        config: its settings; empty in files of weights alone.
    """

    name: str
    kind: str
    weights: Mapping[str, npt.NDArray[np.float32]]
    inputs: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_convolution(self) -> bool:
        """Whether it has a kernel: a convolution, a transposed or depthwise one, or a dense layer."""
        return "kernel" in self.weights or "depthwise_kernel" in self.weights

    @property
    def is_normalization(self) -> bool:
        """Whether it is a batch normalisation."""
        return "moving_variance" in self.weights


@dataclass(frozen=True, slots=True)
class KerasFile:
    """What a file holds.

    Attributes:
        path: the file.
        name: of the model, such as "ssd_resnet"; "" in files of weights alone.
        layers: by name, in the model's order.
        input_shape: channels, height and width of the network's input, the latter None where the network takes any
            size; None where the file doesn't say.
        has_graph: whether the file tells which layer follows which.
    """

    path: Path
    name: str
    layers: Mapping[str, KerasLayer]
    input_shape: tuple[int, int | None, int | None] | None
    has_graph: bool

    @property
    def is_quantized(self) -> bool:
        """Whether it was trained for quantisation (``enable_qat``): layers with scales of their outputs say so."""
        return any(SCALE in layer.weights or layer.kind.startswith("Quantized") for layer in self.layers.values())

    def normalizations(self) -> dict[str, str]:
        """The batch normalisation that each convolution's output goes to, by the convolution's name.

        The graph tells. In a file of weights alone, every normalisation belongs to the convolution before it that has
        as many channels and the likest name, such as ``block_1a_conv_2`` to ``block_1a_bn_2``.
        """
        found: dict[str, str] = {}
        if self.has_graph:
            for layer in self.layers.values():
                if layer.is_normalization and layer.inputs and layer.inputs[0] in self.layers:
                    found[layer.inputs[0]] = layer.name
            return found
        before: list[KerasLayer] = []
        for layer in self.layers.values():
            if layer.is_convolution:
                before.append(layer)
            elif layer.is_normalization and before:
                nearest = max(before, key=lambda each: _likeness(each, layer))
                before.remove(nearest)
                found[nearest.name] = layer.name
        return found


def is_keras_file(path: Path) -> bool:
    """Whether a file is HDF5, by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_keras_file(path: Path) -> KerasFile:
    """Read the weights and the graph of a Keras file.

    Links out of the file, data outside of it, virtual data sets, unknown filters and Lambda layers, which hold code,
    are refused by name.

    Args:
        path: a ``.hdf5`` or ``.h5`` of TAO 5 or Keras 2.

    Raises:
        WeightsError: it isn't such a file, is cut short, or holds what is refused.
        MissingExtra: h5py isn't installed.
    """
    h5py = _h5py()
    require_end(path)
    try:
        with h5py.File(path, "r") as file:
            return _Reader(path, h5py).read(file)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, RecursionError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path} is damaged or cut short ({reason[:120]})", _FETCH_AGAIN) from error


@dataclass(frozen=True, slots=True)
class KerasModel:
    """A model to be written.

    Attributes:
        name: such as "ssd_resnet".
        layers: in the model's order, each with all of its settings but name and ``trainable``.
        inputs: names of its input layers.
        outputs: names of the layers that give its outputs.
    """

    name: str
    layers: Sequence[KerasLayer]
    inputs: Sequence[str]
    outputs: Sequence[str]


def write_keras_file(path: Path, model: KerasModel) -> None:
    """Write a model as Keras 2.2.4 writes one that was never compiled, atomically.

    Args:
        path: the file.
        model: what to write.

    Raises:
        XrayclsError: the file can't be written; an old one is untouched.
        MissingExtra: h5py isn't installed.
    """
    h5py = _h5py()
    graph = {
        "name": model.name,
        "layers": [_described(layer) for layer in model.layers],
        "input_layers": [[each, 0, 0] for each in model.inputs],
        "output_layers": [[each, 0, 0] for each in model.outputs],
    }
    text = h5py.string_dtype("ascii")  # which h5py 2, that Keras 2.2.4 has, reads as bytes as Keras expects
    by_whom = {"backend": _BACKEND, "keras_version": _VERSION}
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        group = file.create_group("model_weights")
        for name, value in by_whom.items():
            file.attrs.create(name, value, dtype=text)
            group.attrs.create(name, value, dtype=text)
        file.attrs.create("model_config", json.dumps({"class_name": "Model", "config": graph}), dtype=text)
        group.attrs["layer_names"] = np.asarray([layer.name.encode() for layer in model.layers])
        for layer in model.layers:
            own = group.create_group(layer.name)
            weights = {f"{layer.name}/{kind}:0": values for kind, values in layer.weights.items()}
            own.attrs["weight_names"] = np.asarray([weight.encode() for weight in weights])
            for weight, values in weights.items():
                own.create_dataset(weight, data=np.ascontiguousarray(values, np.float32))


def _described(layer: KerasLayer) -> dict[str, Any]:
    own = {} if layer.kind == "InputLayer" else {"trainable": True}
    return {
        "name": layer.name,
        "class_name": layer.kind,
        "config": {"name": layer.name, **own, **layer.config},
        "inbound_nodes": [[[each, 0, 0, {}] for each in layer.inputs]] if layer.inputs else [],
    }


def _h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MissingExtra("The package h5py", "tao") from error
    return h5py


class _Reader:
    """Reads one open file; ``h5py`` is handed in, since it is imported where the file is opened."""

    def __init__(self, path: Path, h5py: Any) -> None:
        self.path, self.h5py = path, h5py
        self.bytes = 0

    def read(self, file: Any) -> KerasFile:
        model = self._graph(file)
        group = file if "model_weights" not in file else self._group(file, "model_weights")
        names = self._texts(group, "layer_names")
        if not names:
            raise WeightsError(
                f"{self.path} is an HDF5 file without Keras' layer_names, so not a model of TAO",
                "Give the .hdf5 that TAO 5 wrote",
            )
        described = {each["config"]["name"]: each for each in model.get("layers", ())}
        wrapped = {name: _wrapped(each) for name, each in described.items()}
        layers: dict[str, KerasLayer] = {}
        for name in names:
            inner = wrapped.get(name, {})
            own = str(inner.get("config", {}).get("name", name))
            layers[own] = KerasLayer(
                name=own,
                kind=str(inner.get("class_name", "")),
                weights=self._weights(group, name),
                inputs=tuple(
                    str(wrapped.get(each, {}).get("config", {}).get("name", each))
                    for each in _inputs(described.get(name, {}))
                ),
                config=inner.get("config", {}),
            )
        return KerasFile(self.path, str(model.get("name", "")), layers, _input_shape(model), bool(model))

    def _graph(self, file: Any) -> Mapping[str, Any]:
        text = file.attrs.get("model_config")
        if text is None:
            return {}
        text = text.decode() if isinstance(text, bytes) else str(text)
        if len(text) > _MOST_TEXT:
            raise WeightsError(f"The graph in {self.path} is {len(text):,} characters long, which no network needs")
        model = parse_json(text)["config"]
        if not isinstance(model, dict):  # Keras' Sequential
            raise WeightsError(f"{self.path} is a Sequential model of Keras, which no detector of TAO is")
        for kind, name in _kinds(model):
            if kind == "Lambda":
                raise WeightsError(
                    f"The layer {name} of {self.path} is a Lambda, which holds code, and was refused",
                    "Give a file of weights that TAO wrote",
                )
        return model

    def _group(self, parent: Any, name: str) -> Any:
        """A group or data set below another one, which must lie in the file itself."""
        node = parent
        for part in name.strip("/").split("/"):
            link = node.get(part, getlink=True) if isinstance(node, self.h5py.Group) else None
            if link is None:
                raise WeightsError(f"{self.path} lacks {name}, which it lists", _FETCH_AGAIN)
            if not isinstance(link, self.h5py.HardLink):
                raise WeightsError(f"{name} in {self.path} is a link to elsewhere, and was refused")
            node = node[part]
        return node

    def _texts(self, group: Any, name: str) -> list[str]:
        """A list of strings, which Keras splits over several attributes where it is long."""
        values = group.attrs.get(name)
        parts = [values] if values is not None else []
        number = 0
        while values is None and (part := group.attrs.get(f"{name}{number}")) is not None:
            parts.append(part)
            number += 1
        return [v.decode() if isinstance(v, bytes) else str(v) for part in parts for v in np.asarray(part).tolist()]

    def _weights(self, group: Any, name: str) -> dict[str, npt.NDArray[np.float32]]:
        layer = self._group(group, name)
        found = {}
        for weight in self._texts(layer, "weight_names"):
            kind = weight.rpartition("/")[2].partition(":")[0]
            found[kind] = self._array(self._group(layer, weight), f"{name}/{kind}")
        return found

    def _array(self, data: Any, name: str) -> npt.NDArray[np.float32]:
        if not isinstance(data, self.h5py.Dataset) or data.dtype.kind != "f":
            raise WeightsError(f"{name} in {self.path} holds no floating-point numbers")
        if data.is_virtual or data.external:
            raise WeightsError(f"{name} in {self.path} lies in other files, and was refused")
        settings = data.id.get_create_plist()
        filters = [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]
        if unknown := [each for each in filters if each not in _SAFE_FILTERS]:
            raise WeightsError(f"{name} in {self.path} needs the HDF5 filter {unknown[0]}, and was refused")
        self.bytes += data.nbytes
        if self.bytes > _MOST_BYTES or (not filters and data.id.get_storage_size() < data.nbytes):
            raise WeightsError(f"{name} in {self.path} claims more numbers than the file holds", _FETCH_AGAIN)
        return np.asarray(data[()], np.float32)


def _wrapped(layer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The layer itself, or the one that TimeDistributed wraps."""
    return layer["config"]["layer"] if layer["class_name"] == _WRAPPER else layer


def _inputs(layer: Mapping[str, Any]) -> list[str]:
    nodes = layer.get("inbound_nodes") or [[]]
    return [str(source[0]) for source in nodes[0]]


def _input_shape(model: Mapping[str, Any]) -> tuple[int, int | None, int | None] | None:
    for layer in model.get("layers", ()):
        shape = layer["config"].get("batch_input_shape", ())
        if layer["class_name"] == "InputLayer" and len(shape) == 4 and isinstance(shape[1], int):
            return shape[1], shape[2], shape[3]
    return None


def _kinds(config: Any) -> Iterator[tuple[str, str]]:
    """Class and name of every layer, those inside of others too."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            inner = config.get("config")
            yield config["class_name"], str(inner.get("name", "") if isinstance(inner, dict) else "")
        for value in config.values():
            yield from _kinds(value)
    elif isinstance(config, list):
        for value in config:
            yield from _kinds(value)


def _likeness(convolution: KerasLayer, normalization: KerasLayer) -> tuple[bool, float]:
    """Whether the channels agree, and how much of the names does."""
    first, second = (layer.name.replace("conv", "").replace("bn", "") for layer in (convolution, normalization))
    channels = len(normalization.weights["moving_variance"])
    return _channels(convolution) == channels, SequenceMatcher(None, first, second).ratio()


def _channels(layer: KerasLayer) -> int:
    """Output channels of a convolution or dense layer."""
    if "depthwise_kernel" in layer.weights:
        return int(layer.weights["depthwise_kernel"].shape[2])
    kernel = layer.weights["kernel"]
    return int(kernel.shape[2 if layer.kind == "Conv2DTranspose" else -1])
