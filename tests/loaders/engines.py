"""Every engine that this machine can run, for tests that all of them must pass."""

import pytest
import torch

from xraycls.data.table import SampleTable
from xraycls.loaders.dali_graph import is_installed
from xraycls.loaders.engine import Engine
from xraycls.loaders.recipes.classification import Recipe
from xraycls.loaders.sampler import Sampler

CPU = torch.device("cpu")
GPU = torch.device("cuda", 0)

needs_dali = pytest.mark.skipif(not is_installed(), reason="needs the extra dali")
_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]

ENGINES = [
    pytest.param(("torch", CPU), id="torch"),
    pytest.param(("dali", CPU), id="dali-cpu", marks=needs_dali),
    pytest.param(("graph", CPU), id="dali-graph-cpu", marks=needs_dali),
    pytest.param(("resident", CPU), id="resident-cpu"),
    pytest.param(("torch", GPU), id="torch-gpu", marks=_gpu),
    pytest.param(("dali", GPU), id="dali-gpu", marks=[*_gpu, needs_dali]),
    pytest.param(("resident", GPU), id="resident-gpu", marks=_gpu),
]

DALI_DEVICES = [
    pytest.param(CPU, id="cpu", marks=needs_dali),
    pytest.param(GPU, id="gpu", marks=[*_gpu, needs_dali]),
]


def build(kind: tuple[str, torch.device], table: SampleTable, recipe: Recipe, sampler: Sampler, **options) -> Engine:
    """An engine of :data:`ENGINES` with two threads; "graph" is DALI that draws everything, as on a GPU."""
    name, device = kind
    if name == "torch":
        from xraycls.loaders.torch_engine import TorchLoader

        return TorchLoader(table, recipe, sampler, pin_memory=device.type == "cuda", **options)
    if name in ("dali", "graph"):
        from xraycls.loaders.dali_engine import DaliLoader

        if name == "graph":
            options["draws_here"] = False
        return DaliLoader(table, recipe, sampler, device=device, **options)
    from xraycls.loaders.resident_engine import ResidentLoader

    return ResidentLoader(table, recipe, sampler, device=device, **options)
