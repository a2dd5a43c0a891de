"""Torchvision without torch's compiler: the stand-in gives way to the true module when anything is asked of it."""

import sys

import pytest

from xraycls.models import torchvision

COMPILER = "a_compiler_that_takes_seconds"


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """The name of a module in place of torch's compiler."""
    (tmp_path / f"{COMPILER}.py").write_text(
        "other = 7\n\n\ndef is_compile_supported(device):\n    return f'yes, {device}'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torchvision, "_COMPILER", COMPILER)
    yield
    sys.modules.pop(COMPILER, None)


@pytest.mark.usefixtures("compiler")
def test_the_question_of_torchvision_imports_the_compiler_when_it_is_asked():
    with torchvision._compiler_at_first_use():
        from a_compiler_that_takes_seconds import is_compile_supported
    assert COMPILER not in sys.modules
    assert is_compile_supported("cuda") == "yes, cuda"
    assert sys.modules[COMPILER].__file__


@pytest.mark.usefixtures("compiler")
def test_any_other_name_imports_the_compiler_at_once():
    with torchvision._compiler_at_first_use():
        from a_compiler_that_takes_seconds import other
    assert other == 7
    assert sys.modules[COMPILER].__file__


@pytest.mark.usefixtures("compiler")
def test_a_compiler_that_is_loaded_stays():
    import a_compiler_that_takes_seconds as loaded

    with torchvision._compiler_at_first_use():
        assert sys.modules[COMPILER] is loaded
    assert sys.modules[COMPILER] is loaded
