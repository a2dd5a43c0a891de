"""Throw-away environments: one for each peer that xraycls doesn't depend on."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from xraycls.errors import DataError

_PINS = Path(__file__).with_name("environments.toml")
_SHARED = ("torch", "torchvision")
_DONE = "installed.json"  # written last


class Pins(NamedTuple):
    """What an environment is installed from.

    Attributes:
        licence: of the peer, as an SPDX identifier.
        packages: requirements with exact versions.
    """

    licence: str
    packages: tuple[str, ...]


def pinned() -> dict[str, Pins]:
    """The environments of ``environments.toml`` by their names."""
    tables = tomllib.loads(_PINS.read_text())
    return {name: Pins(table["licence"], tuple(table["packages"])) for name, table in tables.items()}


def interpreter(folder: Path, name: str, *, own_torch: bool = False) -> Path:
    """The Python of a peer's environment, which is made where it isn't there yet or was made from other pins.

    A ``.pth`` file appends the packages of the running environment to its search path, so that the packages that both
    need, torch above all, are installed once. A peer that can't do with this torch isn't given another one unless
    ``own_torch`` is set: then it is installed from nothing.

    Args:
        folder: that holds all environments.
        name: of the environment.
        own_torch: install everything that the peer needs, torch included.

    Raises:
        DataError: the peer can't be installed, now or when it was tried before, with the error of the installer.
    """
    place = folder / (f"{name}-own-torch" if own_torch else name)
    python, done = place / "bin" / "python", place / _DONE
    facts = {"packages": pinned()[name].packages, "python": sys.version, "own_torch": own_torch}
    wanted = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    found = json.loads(done.read_text()) if done.is_file() else {}
    if found.get("made_from") != wanted:
        found = {"made_from": wanted}
        try:
            _install(place, python, pinned()[name].packages, own_torch)
            found["packages"] = _versions(python, place)
        except DataError as error:  # noted, since another try would take as long
            found["error"] = error.message
        done.write_text(json.dumps(found, indent=2) + "\n")
    if "error" in found:
        raise DataError(found["error"], hint=f"Remove {place} to try again")
    if not own_torch:
        _share(place)  # another environment may have made it, and be gone
    return python


def _install(place: Path, python: Path, packages: tuple[str, ...], own_torch: bool) -> None:
    _call([sys.executable, "-m", "venv", "--clear", str(place)], place)
    shared = [] if own_torch else [f"{name}=={version(name)}" for name in _SHARED]
    if own_torch:
        packages = (*packages, "torch", "torchvision", "opencv-python-headless")  # what the scripts here import
    else:
        _share(place)
    _call([str(python), "-m", "pip", "--disable-pip-version-check", "install", *packages, *shared], place)


def _share(place: Path) -> None:
    """Append the packages of the running environment to an environment's search path."""
    paths = sysconfig.get_paths(vars={"base": str(place), "platbase": str(place)})
    Path(paths["purelib"], "shared.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")


def _call(command: list[str], place: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"The environment {place.name} can't be installed: {_error(done.stdout + done.stderr)}")


def _error(output: str) -> str:
    """The line of an installer's output that says most: the exception of a build, or the last one on an error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["no output"]
    for pattern in (r"\w*(Error|Exception): .", r"(?i)error"):
        if found := [line for line in lines if re.search(pattern, line)]:
            return found[-1]
    return lines[-1]


def _versions(python: Path, place: Path) -> list[str]:
    """What is installed in the environment itself, as requirements."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "freeze", "--path"]
    sites = [str(site) for site in place.glob("lib/python*/site-packages")]
    return subprocess.run([*command, *sites], capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
