"""The built wheel in an environment of its own, without extras: what a newcomer gets."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xraycls.loaders import kernels

TOP = Path(__file__).parents[1]


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(folder: Path, **environment: str) -> Path:
    """A wheel of the checkout, compiled anew."""
    source = folder / "source"  # not the checkout, whose build folder other tests see
    shutil.copytree(TOP / "xraycls", source / "xraycls", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(TOP / name, source)
    run(sys.executable, "-m", "uv", "build", "--wheel", "--out-dir", folder, source, env=os.environ | environment)
    (wheel,) = folder.glob("xraycls-*.whl")
    return wheel


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """The ``xraycls`` of an environment that holds the wheel and what it requires, nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel = built(folder)
    run(sys.executable, "-m", "venv", "--without-pip", folder / "env")
    python = folder / "env" / "bin" / "python"
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--python",
        python,
        "--constraint",
        TOP / "constraints.txt",
    ]
    done = subprocess.run([*map(str, command), str(wheel)], capture_output=True, text=True, check=False)
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"the wheel's requirements can't be installed here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return python.parent / "xraycls"


@pytest.mark.slow
@pytest.mark.walkthrough
def test_the_wheel_alone_trains_tests_predicts_and_explains(program, tiny, tmp_path):
    outside = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")} | {
        "OMP_NUM_THREADS": "1"
    }
    options = {"cwd": tmp_path, "env": outside}
    settings = "--base-model resnet18 --weights none --size 32 --epochs 1 --batch-size 8 --output run".split()
    run(program, "train", "--data", tiny, *settings, **options)
    assert "AUROC" in run(program, "test", "run", **options)
    picture = next((tiny / "test" / "PNEUMONIA").iterdir())
    assert "PNEUMONIA" in run(program, "predict", "run", picture, **options)
    run(program, "cam", "run", picture, "--output", "maps", **options)
    assert list((tmp_path / "maps").iterdir())
    if kernels.IS_COMPILED:  # and so it was for the wheel
        assert json.loads((tmp_path / "run" / "environment.json").read_text())["kernels"] == "compiled"


@pytest.mark.slow
@pytest.mark.walkthrough
def test_without_a_compiler_the_wheel_draws_by_opencv(tmp_path):
    wheel = built(tmp_path, CC="false")
    shutil.unpack_archive(wheel, tmp_path / "site", "zip")
    assert not list((tmp_path / "site").rglob("*.so"))
    script = (
        "import numpy as np\n"
        "from xraycls.loaders import kernels\n"
        "out = np.zeros((2, 2), np.uint8)\n"
        "kernels.warp([np.full((2, 2), 7, np.uint8)], np.eye(2, 3)[None], [out], 0)\n"
        "print(kernels.__file__, kernels.IS_COMPILED, out.tolist())\n"
    )
    outside = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    said = run(sys.executable, "-c", script, env=outside, cwd=tmp_path)
    assert said.split(maxsplit=1) == [
        str(tmp_path / "site" / "xraycls" / "loaders" / "kernels.py"),
        "False [[7, 7], [7, 7]]\n",
    ]


def test_a_script_beside_the_checkout_imports_the_package_and_not_the_checkouts_folder(tmp_path):
    pytest.importorskip("setuptools")
    checkout, site = tmp_path / "xraycls", tmp_path / "site"
    shutil.copytree(TOP / "xraycls", checkout / "xraycls", ignore=shutil.ignore_patterns("__pycache__"))
    site.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(TOP / name, checkout)
    build = f"from setuptools import build_meta; build_meta.build_editable({str(site)!r})"
    run(sys.executable, "-c", build, cwd=checkout)
    (wheel,) = site.glob("*.whl")
    shutil.unpack_archive(wheel, site, "zip")
    script = tmp_path / "script.py"
    script.write_text(
        "import importlib.util, site\n"
        f"site.addsitedir({str(site)!r})\n"
        "print(importlib.util.find_spec('xraycls').origin)\n"  # what an import would run
    )
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = run(sys.executable, "-S", script, env=outside, cwd=tmp_path)  # without what is installed here
    assert said.strip() == str(checkout / "xraycls" / "__init__.py")
