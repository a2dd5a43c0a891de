"""The tensors of a whole network that ``torch.save`` pickled, read without running anything that the file names.

``torch.load`` rebuilds such a network by importing and calling whatever the file says, which can be any code. Here
nothing is imported or called: tensors are made of their bytes, objects of networks become holders of their attributes,
and any other name in the file, such as ``os.system`` or ``builtins.eval``, refuses it.

Both formats of torch are read: the zip archive since 1.6 (``data.pkl`` and the bytes of each storage), and the one
before it (five pickles in a row, and the bytes of all storages after them).
"""

from __future__ import annotations

import io
import math
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch

Load = Callable[[str, torch.dtype, int], torch.Tensor]

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # what the older format begins with
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# Containers without behaviour; pickles of Python 2 call the builtins by another name.
_CONTAINERS: Mapping[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "__builtin__.set": set,
    "torch.Size": tuple,
}
# What networks keep as attributes and training scripts beside them. It is held, not made.
_HELD = frozenset(
    "argparse.Namespace functools.partial torch.device torch.float32 torch.float16 torch.bfloat16 numpy.dtype "
    "numpy.core.multiarray.scalar numpy._core.multiarray.scalar torch._C._nn.gelu".split()
)
_NETWORKS_OF_TORCH = "torch.nn."
# Packages of which no network is: a name from there is a function that a hostile file wants to have called.
_NO_NETWORKS = frozenset(sys.stdlib_module_names) | {"__builtin__", "copy_reg", "commands", "cPickle", "torch", "numpy"}
_DEEPEST, _MOST = 64, 100_000
"""Levels and modules of a network; a file that refers to its own parts in circles has more."""


class PickledNetwork(NamedTuple):
    """What was read of a network.

    Attributes:
        tensors: its parameters and persistent buffers, as ``net.state_dict()`` names them.
        origin: its class with the module in front, such as "torchxrayvision.models.DenseNet".
        findings: what it calls its outputs, where it says so; empty elsewhere.
    """

    tensors: dict[str, torch.Tensor]
    origin: str
    findings: tuple[str, ...]


class _Holder:
    """An object of a class that isn't imported: the state that it was pickled with, and no behaviour."""

    def __new__(cls, *args: object, **kwargs: object) -> _Holder:
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        """What the object was made with doesn't matter."""

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            vars(self).update(state)


# What the pickle gets in the place of storages and tensors: it can't change a tuple.
class _Storage(NamedTuple):
    flat: torch.Tensor


class _Tensor(NamedTuple):
    tensor: torch.Tensor


class _Reader(pickle.Unpickler):
    """An unpickler that knows tensors, containers and holders, and imports nothing.

    Args:
        file: the pickle.
        load: gives the values of a storage by its key, its type and their number.
    """

    def __init__(self, file: Any, load: Load) -> None:
        super().__init__(file)
        self._load = load
        self._storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return name
        if path in _CONTAINERS:
            return _CONTAINERS[path]
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return self._tensor
        if module == "torch._utils" and name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
            return self._parameter
        package = module.partition(".")[0]
        if path in _HELD or module.startswith(_NETWORKS_OF_TORCH) or package not in _NO_NETWORKS:
            return type(name, (_Holder,), {"__module__": module})
        raise pickle.UnpicklingError(f"GLOBAL {path}")

    def persistent_load(self, pid: Any) -> Any:
        kind, *rest = pid
        if kind == "module":  # of the older format: a class, and its source code
            return rest[0]
        storage, key, _, count, *view = rest
        if kind != "storage" or not isinstance(key, str) or not isinstance(count, int) or any(view):
            raise ValueError(f"unknown reference {kind!r}")
        if key not in self._storages:
            self._storages[key] = _Storage(self._load(key, _DTYPES[storage], count))
        return self._storages[key]

    def _tensor(self, storage: _Storage, offset: int, size: Any, stride: Any, *_: object) -> _Tensor:
        if math.prod(size) > len(storage.flat):
            raise ValueError("a tensor is larger than its storage")
        return _Tensor(storage.flat.as_strided(tuple(size), tuple(stride), offset))  # which checks the bounds

    def _parameter(self, tensor: _Tensor, *_: object) -> _Tensor:
        return tensor


def read_network(path: Path) -> PickledNetwork | None:
    """The network that a file of ``torch.save`` holds, itself or in a mapping; None when there is none.

    Raises:
        pickle.UnpicklingError: the file names something that no network is made of; the text is that name.
        Exception: of any kind, as the file is damaged.
    """
    content = _from_zip(path) if zipfile.is_zipfile(path) else _from_stream(path)
    networks = [(network, _tensors(network)) for network in _networks(content)]
    network, tensors = max(networks, key=lambda found: len(found[1]), default=(None, {}))
    if network is None:
        return None
    kind = type(network)
    return PickledNetwork(tensors, f"{kind.__module__}.{kind.__name__}", _findings(network))


def _from_zip(path: Path) -> object:
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        root = name.removesuffix("data.pkl")

        def stored(member: str) -> bytearray:
            if archive.getinfo(member).compress_type != zipfile.ZIP_STORED:  # torch packs nothing; a bomb does
                raise ValueError(f"{member} is packed")
            return bytearray(archive.read(member))

        def load(key: str, dtype: torch.dtype, count: int) -> torch.Tensor:
            values = stored(f"{root}data/{key}")
            if len(values) != count * dtype.itemsize:
                raise ValueError(f"storage {key} has another size")
            return torch.frombuffer(values, dtype=dtype) if count else torch.empty(0, dtype=dtype)

        if f"{root}byteorder" in archive.namelist() and stored(f"{root}byteorder") != b"little":
            raise ValueError("the numbers are big-endian")
        return _Reader(io.BytesIO(stored(name)), load).load()


def _from_stream(path: Path) -> object:
    room = path.stat().st_size
    storages: dict[str, torch.Tensor] = {}

    def load(key: str, dtype: torch.dtype, count: int) -> torch.Tensor:
        nonlocal room
        room -= count * dtype.itemsize
        if count < 0 or room < 0:
            raise ValueError(f"storage {key} is larger than the file")
        storages[key] = torch.empty(count, dtype=dtype)
        return storages[key]

    with path.open("rb") as file:
        if _Reader(file, load).load() != _MAGIC:
            return None
        if _Reader(file, load).load() != _PROTOCOL or not _Reader(file, load).load()["little_endian"]:
            raise ValueError("the numbers are big-endian, or of another version")
        content: object = _Reader(file, load).load()
        keys = _Reader(file, load).load()
        if sorted(keys) != sorted(storages):
            raise ValueError("storages are missing")
        for key in keys:
            _fill(storages[key], file)
    return content


def _fill(storage: torch.Tensor, file: BinaryIO) -> None:
    """The values of a storage from where the file stands: how many there are, and their bytes."""
    count = int.from_bytes(file.read(8), "little")
    values = file.read(len(storage) * storage.dtype.itemsize)
    if count != len(storage) or len(values) != count * storage.dtype.itemsize:
        raise ValueError("a storage is cut short")
    if count:
        storage.copy_(torch.frombuffer(bytearray(values), dtype=storage.dtype))


def _networks(content: object, depth: int = 4) -> Iterator[_Holder]:
    """The networks in what was saved: that itself, or the values of mappings within mappings."""
    if isinstance(content, _Holder) and isinstance(vars(content).get("_modules"), dict):
        yield content
    elif isinstance(content, dict) and depth:
        for each in content.values():
            yield from _networks(each, depth - 1)


def _tensors(network: _Holder) -> dict[str, torch.Tensor]:
    """The tensors of a network by name, as ``state_dict`` gives them."""
    found: dict[str, torch.Tensor] = {}
    waiting: list[tuple[str, object]] = [("", network)]
    for _ in range(_MOST):
        if not waiting:
            return found
        prefix, module = waiting.pop()
        state = vars(module) if isinstance(module, _Holder) else {}
        kept = state.get("_non_persistent_buffers_set", ())
        for name, value in [*_items(state, "_parameters"), *_items(state, "_buffers")]:
            if isinstance(value, _Tensor) and name not in kept:
                found[prefix + name] = value.tensor
        waiting += [(f"{prefix}{name}.", child) for name, child in reversed(_items(state, "_modules"))]
        if prefix.count(".") > _DEEPEST:
            break
    raise ValueError("the network has no end")


def _items(state: Mapping[str, object], kind: str) -> list[tuple[str, object]]:
    held = state.get(kind)
    return [(str(name), value) for name, value in held.items()] if isinstance(held, dict) else []


def _findings(network: _Holder) -> tuple[str, ...]:
    named = vars(network).get("pathologies")
    if isinstance(named, list | tuple) and all(isinstance(name, str) for name in named):
        return tuple(named)
    return ()
