"""The benchmark of peers: the runner, the measurement of a pipeline, the table and its bars."""

import json
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks.peers import environments, measure, process, report
from benchmarks.peers.pipelines import PIPELINES, SEED
from benchmarks.peers.task import Task, as_asked
from xraycls.data.phantom import write_phantom
from xraycls.errors import DataError

ROOT = Path(__file__).parents[1]
OURS = ("xraycls", "xraycls, prepared", "xraycls, prepared, resident")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peers") / "data"
    write_phantom(folder, images=6, size=96)
    return folder


def task_of(phantoms, folder, **changed):
    files = sorted(map(str, phantoms.rglob("*.jp*g")))
    task = {"data": str(phantoms), "files": files, "store": str(folder / "store"), "work": str(folder / "work")}
    return {**task, "batch_size": 2, "workers": 1, "output": "float32", **changed}


@pytest.mark.parametrize("name", ["torchvision, grey", "hand-written loop", *OURS])
def test_a_pipeline_is_measured_cold_and_steady(phantoms, tmp_path, name):
    task = task_of(phantoms, tmp_path)
    stored = process.prepare(name, task)
    assert (stored["disk"] > 0) == (PIPELINES[name].prepare is not None)
    answer = process.measure(name, task, at_least=0.0)
    for part in ("first", "steady"):
        assert answer[part]["images"] == 6
        assert answer[part]["seconds"] > 0
        assert answer[part]["cpu_seconds"] > 0


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_command_measures_in_processes_of_their_own_and_writes_the_table(phantoms, tmp_path):
    path = tmp_path / "peers.json"
    command = [sys.executable, "-m", "benchmarks.peers", "--data", str(phantoms), "--only", "torchvision, grey", *OURS]
    command += ["--images", "6", "--batch-size", "2", "--rounds", "2", "--seconds", "0", "--threads", "1"]
    command += ["--json", str(path), "--markdown", str(tmp_path / "peers.md")]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    result = json.loads(path.read_text())
    assert result["not_measured"] == {}
    assert list(result["pipelines"]) == ["torchvision, grey", *OURS]
    for facts in result["pipelines"].values():
        assert facts["memory_of_imports"] >= facts["memory_of_torch"] > 50 * 2**20
        for each in facts["rounds"]:
            assert {output: answer["first"]["images"] for output, answer in each.items()} == {"float32": 6, "uint8": 6}
    assert (tmp_path / "peers.md").read_text().count("\n") == 2 + 4


def test_a_batch_of_another_type_or_shape_ends_the_measurement():
    good = torch.zeros(2, 1, 224, 224)
    assert process._images(iter([good, good]), "float32", 1) == 4
    with pytest.raises(ValueError, match=r"a batch is float32 \[1, 224, 224\], not uint8 \[1, 224, 224\]"):
        process._images(iter([good]), "uint8", 1)
    with pytest.raises(ValueError, match=r"not float32 \[3, 224, 224\]"):
        process._images(iter([good]), "float32", 3)


def test_grey_levels_are_normalised_as_torchvision_does(tmp_path):
    from torchvision.transforms.functional import normalize

    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    task = Task(tmp_path, (), tmp_path, tmp_path, 1, 1, "float32")
    assert torch.allclose(as_asked(images, task), normalize(images / 255, [0.485], [0.229]), atol=1e-6)


STUB = """
import json, sys
library = sys.argv[1]
print(json.dumps({"error": "ImportError: no timm"} if library == "timm" else {"memory_of_torch": 1}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if library == "hand_written":
        break
    if asked["do"] == "prepare":
        answer = {"version": "1.0", "seconds": 2.0, "disk": 5}
    elif library == "torchvision" and asked["task"]["output"] == "uint8":
        answer = {"error": "ValueError: no uint8"}
    else:
        answer = {"asked": asked["task"]["output"], "work": asked["task"]["work"]}
    print(json.dumps(answer), flush=True)
"""


def test_the_runner_lets_pipelines_take_turns_and_notes_why_others_have_no_row(tmp_path, monkeypatch):
    program = tmp_path / "stub.py"
    program.write_text(STUB)
    monkeypatch.setattr(measure, "_PROGRAM", (str(program),))

    def refused(folder, name, *, own_torch):
        raise DataError(f"The environment {name} can't be installed: no compiler")

    monkeypatch.setattr(measure, "interpreter", refused)
    setup = measure.Setup(
        data=tmp_path,
        files=(tmp_path / "a.jpg",) * 200,
        work=tmp_path,
        environments=tmp_path,
        own_torch=False,
        batch_size=2,
        workers=1,
        rounds=2,
        at_least=0.0,
    )
    names = ["timm, grey", "torchvision, grey", "hand-written loop", "ffcv, raw", "xraycls", "xraycls, prepared"]
    found, missing = measure.measured(names, setup)
    assert missing == {
        "ffcv, raw": "The environment ffcv can't be installed: no compiler.",
        "timm, grey": "ImportError: no timm.",
        "torchvision, grey": "ValueError: no uint8.",
        "hand-written loop": "its process ended.",
    }
    assert list(found) == ["xraycls", "xraycls, prepared"]
    assert found["xraycls"]["prepared"] is None
    assert found["xraycls, prepared"]["prepared"]["seconds"] == 2.0
    folders = [answer["work"] for each in found["xraycls"]["rounds"] for answer in each.values()]
    assert len(folders) == len(set(folders)) == 4  # two rounds of two outputs, none finds what another kept


def measurement(first, steady, cpu):
    one = {"first": {"images": 100, "seconds": first}, "steady": {"images": 100, "seconds": steady, "cpu_seconds": cpu}}
    return {**one, "memory": 10_000_000, "disk": 3_000_000}


def pipeline(first, steady, *, prepared=None, memory=200_000_000, outputs=("float32", "uint8"), rounds=3):
    stored = None if prepared is None else {"seconds": prepared, "disk": 9_000_000}
    answers = {output: measurement(first, steady, 2 * steady) for output in outputs}
    facts = {"version": "1.2", "prepared": stored, "rounds": [answers] * rounds}
    return {**facts, "memory_of_torch": 150_000_000, "memory_of_imports": memory}


@pytest.fixture
def result():
    pipelines = {
        SEED: pipeline(1.0, 1.0, outputs=("float32",)),
        "kornia, in memory": pipeline(0.5, 0.015),
        "litdata, raw": pipeline(0.01, 0.1, prepared=3.0),
        "xraycls": pipeline(0.25, 0.01),
        "xraycls, prepared": pipeline(0.01, 0.005, prepared=0.5),
        "xraycls, prepared, resident": pipeline(0.01, 0.008, prepared=0.5),
    }
    return {"pipelines": pipelines, "not_measured": {"ffcv, raw": "no compiler"}, "files": 100, "images": 100}


def test_the_table_has_every_pipeline_and_why_one_was_not_measured(result):
    lines = report.table(report.rows(result), report.COMPLETE).splitlines()
    cells = {row[0].strip("*"): row for row in ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)}
    columns = cells.pop("pipeline")
    del cells["---"]
    assert list(cells) == [name for name in PIPELINES if name in {*result["pipelines"], "ffcv, raw"}]
    assert all(len(row) == len(columns) for row in cells.values())
    assert cells["ffcv, raw"][1] == "not measured: no compiler"
    litdata = dict(zip(columns, cells["litdata, raw"], strict=True))
    assert (litdata["first epoch"], litdata["first, with the store"]) == ("10,000", "33")
    assert (litdata["steady"], litdata["× seed"], litdata["a processor second"]) == ("1,000", "10.0", "500")
    assert (litdata["memory, MB"], litdata["of it torch"], litdata["disk, MB"]) == ("210", "150", "12")
    assert dict(zip(columns, cells[SEED], strict=True))["steady, uint8"] == "–"


def test_bars_say_what_holds_and_name_the_peers_that_are_too_near(result):
    sentences = report.bars(report.rows(result), 10_000_000)
    assert [sentence.partition(":")[0] for sentence in sentences] == ["holds"] * 9
    assert sentences[0].startswith("holds: steady from files, float32: 100.0 × the seed's loader")
    assert "200.0 ×" in sentences[2]
    result["pipelines"]["hand-written loop"] = pipeline(0.2, 0.009)
    result["pipelines"]["xraycls"] = pipeline(0.25, 0.02, memory=320_000_000)
    sentences = report.bars(report.rows(result), 10_000_000)
    assert [sentence.partition(":")[0] for sentence in sentences] == [
        *("missed", "missed", "holds", "missed") * 2,
        "missed",
    ]
    assert "; kornia, in memory: 0.75 ×; hand-written loop: 0.45 ×" in sentences[1]
    assert "0.75 × the fastest package" in sentences[1]
    assert "; hand-written loop: 0.80 ×" in sentences[3]
    assert "330 MB" in sentences[-1]
    assert "beside what importing torch alone takes, by which it holds" in sentences[-1]


def test_the_tables_are_put_between_their_marks(tmp_path, monkeypatch, result):
    monkeypatch.setattr(report, "_ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    page = f"before\n\n{report._BEGIN}\nold\n{report._END}\n\nafter\n"
    for path in (tmp_path / "README.md", tmp_path / "docs/benchmarks.md"):
        path.write_text(page)
    facts = {"threads": 2, "rounds": 3}
    for _ in range(2):  # twice, for it must find its own marks again
        report.update_documents(report.rows(result), {**result, **facts}, ["holds: all"])
    written = (tmp_path / "README.md").read_text()
    assert written.startswith("before\n\n")
    assert written.endswith("\n\nafter\n")
    assert written.count("| litdata, raw |") == 1
    assert "old" not in written
    assert "- holds: all\n" in (tmp_path / "docs/benchmarks.md").read_text()
    (tmp_path / "README.md").write_text("no marks")
    with pytest.raises(ValueError, match="has no place for the table"):
        report.update_documents(report.rows(result), {**result, **facts}, [])


def test_every_environment_has_exact_versions_and_a_licence_and_every_pipeline_one_of_them():
    pins = environments.pinned()
    assert {pipeline.environment for pipeline in PIPELINES.values()} - {None} == set(pins)
    for each in pins.values():
        assert each.licence
        assert all("==" in package for package in each.packages)


@pytest.fixture
def installer(monkeypatch):
    """In place of venv and pip; counts installations, and fails when told to."""
    calls = []

    def run(command, **_):
        if "venv" in command:
            site = Path(sysconfig.get_paths(vars={"base": command[-1], "platbase": command[-1]})["purelib"])
            site.mkdir(parents=True, exist_ok=True)
        if "install" in command:
            calls.append(command)
        failed = "install" in command and calls[0] == "fail"
        output = "Collecting x\nERROR: No matching distribution found for x\nhint\n" if failed else "x==1\n"
        return subprocess.CompletedProcess(command, int(failed), output, "")

    monkeypatch.setattr(environments, "subprocess", SimpleNamespace(run=run))
    return calls


def test_an_environment_is_made_once_and_again_when_its_pins_change(tmp_path, monkeypatch, installer):
    python = environments.interpreter(tmp_path, "kornia")
    assert python == tmp_path / "kornia/bin/python"
    assert environments.interpreter(tmp_path, "kornia") == python
    assert len(installer) == 1
    assert {"kornia==0.9.0", f"torch=={version('torch')}"} <= set(installer[0])
    (shared,) = (tmp_path / "kornia").rglob("shared.pth")
    assert Path(shared.read_text().strip()).is_dir()
    shared.write_text("/the/environment/that/made/it\n")
    environments.interpreter(tmp_path, "kornia")
    assert Path(shared.read_text().strip()).is_dir()
    assert json.loads((tmp_path / "kornia/installed.json").read_text())["packages"] == ["x==1"]
    monkeypatch.setattr(environments, "pinned", lambda: {"kornia": environments.Pins("MIT", ("kornia==9",))})
    environments.interpreter(tmp_path, "kornia")
    assert len(installer) == 2


def test_an_environment_may_have_a_torch_of_its_own(tmp_path, installer):
    environments.interpreter(tmp_path, "kornia", own_torch=True)
    assert "torch" in installer[0]
    assert not list(tmp_path.rglob("shared.pth"))


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            "Traceback\n  Exception: no package opencv4\n\n× Encountered error while generating metadata.\n",
            "Exception: no package opencv4",
        ),
        ("ERROR: Could not find a version\nERROR: No matching distribution\nhint\n", "ERROR: No matching distribution"),
        ("killed\n", "killed"),
        ("", "no output"),
    ],
)
def test_the_line_of_an_installer_that_says_most_is_shown(output, expected):
    assert environments._error(output) == expected


def test_what_cannot_be_installed_is_told_in_a_sentence_and_not_tried_again(tmp_path, installer):
    installer.append("fail")
    sentence = "The environment kornia can't be installed: ERROR: No matching distribution found for x"
    for _ in range(2):
        with pytest.raises(DataError, match=sentence):
            environments.interpreter(tmp_path, "kornia")
    assert len(installer) == 2
