"""The program with all verbs, or with the one that is asked for."""

import subprocess
import sys

from xraycls.cli.app import app, program


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
