"""Run a tritonserver on a CPU without a container: the one that the wheel nvidia-pytriton carries.

    python -m venv tritonserver && tritonserver/bin/pip install -r examples/triton/requirements.txt
    tritonserver/bin/python examples/triton/server.py models                       # until it is interrupted
    tritonserver/bin/python examples/triton/server.py models -- COMMAND ARGUMENT…  # as long as a command takes

The wheel needs a numpy before 2, so it has an environment of its own, whose Python runs this file. It has the Python
backend alone: export with `--triton-backend python`. The ensembles that take files import xraycls from this checkout.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
"""Where the server runs, so that its programs can import xraycls."""

PATIENCE = 300
"""Seconds until the models must be there."""


def main() -> int:
    """Serve, run the command, and return its exit status; 1 when the server doesn't start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path, help="a model repository of xraycls export --triton")
    parser.add_argument("--port", type=int, default=8000, help="of HTTP, on this machine alone")
    parser.add_argument("--log", type=Path, default=Path(os.devnull), help="what the server says")
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    given, command = parser.parse_args(sys.argv[1:end]), sys.argv[end + 1 :]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder, given.log.open("w") as log:
        arguments = command_line(given.repository, backends(Path(folder)), given.port)
        with subprocess.Popen(arguments, env=surroundings(), cwd=CHECKOUT, stdout=log, stderr=log) as server:
            try:
                if not ready(server, given.port):
                    print(f"tritonserver did not start all models of {given.repository}: see --log", file=sys.stderr)
                    return 1
                return subprocess.call(command) if command else server.wait()
            except KeyboardInterrupt:
                return 0
            finally:
                server.terminate()


def command_line(repository: Path, backend: Path, port: int) -> list[str]:
    """Returns the server's command: HTTP on this machine alone, no gRPC and no page of figures."""
    return [
        str(wheel() / "bin" / "tritonserver"),
        f"--model-repository={repository.resolve()}",
        f"--backend-directory={backend}",
        "--http-address=127.0.0.1",
        f"--http-port={port}",
        "--allow-grpc=false",
        "--allow-metrics=false",
    ]


def backends(folder: Path) -> Path:
    """Returns a copy of the wheel's backends, with the Python backend's program for this version of Python."""
    made = folder / "backends"
    shutil.copytree(wheel() / "backends", made)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = "triton_python_backend_stub"
    shutil.copy(wheel() / "python_backend_stubs" / version / stub, made / "python" / stub)
    return made


def wheel() -> Path:
    """The folder of the server in the environment of this Python."""
    try:
        import pytriton
    except ImportError:
        sys.exit("nvidia-pytriton isn't installed here: pip install -r examples/triton/requirements.txt")
    return Path(pytriton.__file__).parent / "tritonserver"


def surroundings() -> dict[str, str]:
    """Returns the environment of the server. Its programs look for their packages beside the first `python3` alone."""
    packages = wheel().parents[1]
    libraries = [f"{packages}/nvidia_pytriton.libs", f"{sys.base_prefix}/lib", os.environ.get("LD_LIBRARY_PATH", "")]
    return os.environ | {
        "PATH": os.pathsep.join([f"{sys.prefix}/bin", os.environ["PATH"]]),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
    }


def ready(server: subprocess.Popen[bytes], port: int) -> bool:
    """Wait for the models; returns whether they are there."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    return False


if __name__ == "__main__":
    sys.exit(main())
