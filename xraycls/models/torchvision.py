"""torchvision, imported without torch's compiler; every module takes it from here.

One module of torchvision, ``ops.roi_align``, imports ``torch._dynamo`` for a question that it asks on a GPU in torch's
deterministic mode alone. That import takes several times as long as those of torch and torchvision together
(``python -m benchmarks.startup``), so it waits until the question is asked or something is compiled.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo.utils"


@contextmanager
def _compiler_at_first_use() -> Iterator[None]:
    """A stand-in for the compiler's module while torchvision is imported, and for no longer.

    The one function that torchvision takes from it imports the compiler when it is called. Any other name imports it
    at once, so another version of torchvision loads as well.
    """
    if _COMPILER in sys.modules:
        yield
        return
    stand_in = ModuleType(_COMPILER)

    def imported(name: str) -> Any:
        if name.startswith("__"):  # which the import system itself asks for
            raise AttributeError(name)
        if sys.modules.get(_COMPILER) is stand_in:
            del sys.modules[_COMPILER]
        return getattr(import_module(_COMPILER), name)

    def is_compile_supported(device: Any) -> Any:
        return imported("is_compile_supported")(device)

    vars(stand_in).update(__getattr__=imported, is_compile_supported=is_compile_supported)
    sys.modules[_COMPILER] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(_COMPILER) is stand_in:
            del sys.modules[_COMPILER]


with _compiler_at_first_use():
    from torchvision import models, ops

__all__ = ["models", "ops"]
