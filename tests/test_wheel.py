"""The built wheel in an environment of its own, without extras: what a newcomer gets."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """The ``xraycls`` of an environment that holds the wheel and what it requires, nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # not the checkout, whose build folder other tests see
    shutil.copytree(TOP / "xraycls", source / "xraycls", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(TOP / name, source)
    run(sys.executable, "-m", "uv", "build", "--wheel", "--out-dir", folder, source)
    (wheel,) = folder.glob("xraycls-*.whl")
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
