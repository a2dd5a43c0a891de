"""The program with all verbs, or with the one that is asked for."""

import gc
import subprocess
import sys

import pytest

from xraycls.cli.app import _end_soon, app, program


def test_a_verb_comes_alone_and_is_that_of_the_whole_program():
    (alone,) = program("predict").registered_commands
    whole = {each.name: each for each in app.registered_commands}
    assert (alone.name, alone.callback, alone.epilog) == ("predict", whole["predict"].callback, whole["predict"].epilog)
    assert program("predict").registered_groups == []
    assert {"ssd", "yolo_v4", "faster_rcnn", "detector", "data"} <= {each.name for each in app.registered_groups}


def test_a_verb_imports_no_other_verb_and_no_specs():
    script = "import sys; from xraycls.cli.app import program; program('predict'); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "xraycls.cli.predict" in modules
    assert not {"xraycls.cli.train", "xraycls.cli.data", "xraycls.tao", "xraycls.data.source", "torch"} & {*modules}


@pytest.mark.parametrize("there", [True, False])
def test_the_last_look_through_all_objects_is_left_out_where_torch_is_not(monkeypatch, there):
    if there:
        monkeypatch.setitem(sys.modules, "torch", sys)
    else:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    before = gc.get_freeze_count()
    _end_soon()
    try:
        assert (gc.get_freeze_count() == before) is there
    finally:
        gc.unfreeze()
