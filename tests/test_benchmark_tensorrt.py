"""Engines are measured by TensorRT's own program, here by one that has its flags and computes with onnxruntime."""

import json
import sys

import pytest

pytest.importorskip("onnxscript", reason="needs the extra: export")

from benchmarks import tensorrt_engines

TRTEXEC = """#!{python}
import json, shutil, sys
import numpy as np, onnxruntime
given = dict(each.removeprefix("--").partition("=")[::2] for each in sys.argv[1:])
if "help" in given:
    print("&&&& RUNNING TensorRT.trtexec [TensorRT v110400] [b106]")
elif "onnx" in given:
    if "int8" in given["onnx"]:
        sys.exit(print("[E] Error[4]: no INT8 here") or 1)
    shutil.copyfile(given["onnx"], given["saveEngine"])
    print("[I] GPU Compute Time: min = 1 ms, max = 2 ms, mean = 1.6 ms, median = 1.5 ms, percentile(90%) = 2 ms")
else:
    session = onnxruntime.InferenceSession(given["loadEngine"])
    shape = [int(size) for size in given["shapes"].partition(":")[2].split("x")]
    image = np.fromfile(given["loadInputs"].partition(":")[2], np.uint8).reshape(shape)
    names = [each.name for each in session.get_outputs()]
    found = [
        {{"name": name, "dimensions": "x".join(map(str, values.shape)), "values": values.reshape(-1).tolist()}}
        for name, values in zip(names, session.run(names, {{"image": image}}))
    ]
    open(given["exportOutput"], "w").write(json.dumps(found))
"""


def measured(tmp_path, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["tensorrt_engines", *arguments, "--json", str(tmp_path / "found.json")])
    tensorrt_engines.main()
    return json.loads((tmp_path / "found.json").read_text())


@pytest.mark.exhaustive
def test_engines_are_held_against_torch_and_what_cannot_be_built_says_why(tmp_path, monkeypatch):
    program = tmp_path / "trtexec"
    program.write_text(TRTEXEC.format(python=sys.executable))
    program.chmod(0o755)
    cases = (("classifier", "logits", "fp32"), ("ssd", "tao", "fp32"), ("classifier", "logits", "int8"))
    monkeypatch.setattr(tensorrt_engines, "CASES", cases)
    found = measured(tmp_path, monkeypatch, "--trtexec", str(program), "--size", "64")
    assert found["trtexec"] == "11"
    assert [each["result"] for each in found["engines"]] == [
        "agrees",
        "agrees",
        "failed: trtexec ended with 1: [E] Error[4]: no INT8 here",
    ]
    assert [each["milliseconds"] for each in found["engines"]] == [1.5, 1.5, None]
    assert {each["batch"] for each in found["engines"][0]["parity"]} == {1, 2, 5}


def test_without_trtexec_nothing_is_measured(tmp_path, monkeypatch, capsys):
    found = measured(tmp_path, monkeypatch, "--trtexec", "")
    assert found["engines"] == []
    assert "Not measured: classifier logits fp32, classifier logits fp16" in capsys.readouterr().out
