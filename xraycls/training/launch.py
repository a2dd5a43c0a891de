"""Start one process a GPU through torch's own elastic launcher."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import torch

from xraycls.errors import UsageError
from xraycls.loaders.choose import available_processors


def launch(processes: int, device: str, arguments: Sequence[str]) -> int:
    """Run ``xraycls ARGUMENTS`` in several processes on this machine, and give the exit code.

    Raises:
        UsageError: more processes than GPUs; with ``--device cpu`` any number goes.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device != "cpu" and processes > gpus:
        raise UsageError(f"--gpus {processes} was asked for, but this machine has {gpus}", f"Use --gpus {max(gpus, 1)}")
    threads = max(available_processors() // processes, 1)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["-m", "xraycls", *arguments]
    with subprocess.Popen(command, env=_environment(threads)) as running:
        while True:
            try:
                return running.wait()
            except KeyboardInterrupt:  # the processes got it too; they save and end
                continue


def _environment(threads: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(threads), **os.environ}
