"""Start one process a GPU through torch's own elastic launcher."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import uuid
from collections.abc import Sequence
from typing import Any

import torch

from xraycls.data.processors import available_processors
from xraycls.errors import TrainingError, UsageError

_PATIENCE = 600  # seconds that processes get to save after Ctrl-C


def launch(processes: int, device: str, arguments: Sequence[str]) -> int:
    """Run ``xraycls ARGUMENTS`` in several processes on this machine, and give the exit code.

    Raises:
        UsageError: more processes than GPUs; with ``--device cpu`` any number goes.
        TrainingError: a process other than the first, which speaks for itself, failed for a reason of its own.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device != "cpu" and processes > gpus:
        raise UsageError(f"--gpus {processes} was asked for, but this machine has {gpus}", f"Use --gpus {max(gpus, 1)}")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(available_processors() // processes, 1)))
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # they share the machine with each other
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes speak for themselves
    options: dict[str, Any] = {"shutdown_timeout": _PATIENCE}
    known = {field.name for field in dataclasses.fields(LaunchConfig)}  # later than some versions that we support
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        **{name: value for name, value in options.items() if name in known},
    )
    try:
        elastic_launch(config, sys.executable)("-m", "xraycls", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        reported = {each.message for number, each in error.failures.items() if number == 0}
        if "message" in failure.error_file_data and failure.message not in reported:
            raise TrainingError(f"Process {rank + 1} of {processes} failed: {failure.message}") from error
        return abs(failure.exitcode)
    except SignalException:
        return 130
    return 0
