"""The benchmark scripts run end to end on a few phantoms and write the figures that the README quotes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import gpu_table, loader, memory, nih_findings, train, unet_phantom
from benchmarks.common import in_sentences, interleaved, median_ratio, rate
from benchmarks.engines import training_engine
from benchmarks.exact import difference, exact_pictures, exact_rendering
from benchmarks.sources import linked_folder, original_files
from xraycls.data.phantom import write_phantom
from xraycls.data.source import read_table
from xraycls.errors import UsageError
from xraycls.loaders.dali_graph import is_installed
from xraycls.loaders.recipes.classification import find_recipe
from xraycls.loaders.views import View

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """Twelve small ones, as JPEG and as DICOM."""
    folder = tmp_path_factory.mktemp("phantoms") / "data"
    write_phantom(folder, images=12, size=96, dicom=True)
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a script's main and gives what it wrote."""

    def run(module, *arguments):
        path = tmp_path / "result.json"
        command = [module.__name__, *map(str, arguments), "--device", "cpu", "--json", str(path)]
        monkeypatch.setattr(sys, "argv", command)
        module.main()
        return json.loads(path.read_text())

    return run


@pytest.fixture(scope="module")
def loader_result(phantoms, tmp_path_factory):
    path = tmp_path_factory.mktemp("loader") / "loader.json"
    command = [sys.executable, "-m", "benchmarks.loader", "--data", str(phantoms), "--dicom", str(phantoms / "dicom")]
    command += ["--rounds", "1", "--batch-size", "4", "--compared", "4", "--device", "cpu", "--json", str(path)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    return json.loads(path.read_text())


def rows_of(result):
    return {(row["pipeline"], row["source"]): row for row in result["rows"]}


@pytest.mark.exhaustive
def test_loader_measures_every_engine_and_peer_on_every_source(loader_result):
    files, small, prepared, dicom = "original files", "320-px JPEG", "prepared", "DICOM"
    expected = {
        ("ancestor, torchvision, 0 workers", files),
        ("ancestor, torchvision, 2 workers", files),
        ("ancestor, torchvision, 0 workers", small),
        ("ancestor, torchvision, 2 workers", small),
        ("torchvision v2, 2 workers", files),
        ("decoding alone (floor)", files),
        ("hand-written loop, one warp a picture", prepared),
        ("xraycls torch", files),
        ("xraycls torch", prepared),
        ("xraycls torch", dicom),
        ("xraycls resident", prepared),
    }
    with_dali = {("xraycls dali", source) for source in (files, prepared, dicom)}
    with_dali |= {("ancestor, DALI graph", source) for source in (files, small)}
    by_dali = {("xraycls dali, all by DALI", source) for source in (files, "prepared")}
    assert set(rows_of(loader_result)) == (expected | with_dali | by_dali if is_installed() else expected)
    assert len(loader_result["not_measured"]) == (0 if is_installed() else len(with_dali))


@pytest.mark.exhaustive
def test_loader_ratios_are_against_the_ancestor_and_the_floor(loader_result):
    rows = rows_of(loader_result)
    ancestor = rows["ancestor, torchvision, 0 workers", "original files"]
    assert ancestor["times_ancestor"] == 1
    assert rows["decoding alone (floor)", "original files"]["share_of_floor"] == 1
    ours = rows["xraycls torch", "prepared"]  # one round, so that the median of ratios is the ratio
    assert ours["times_ancestor"] == pytest.approx(ours["images_per_second"] / ancestor["images_per_second"])
    assert ours["share_of_floor"] is None
    assert {"cpu", "cores", "gpu", "python", "versions"} <= loader_result["machine"].keys()


@pytest.mark.exhaustive
def test_loader_compares_our_pictures_with_exact_ones(loader_result):
    compared = loader_result["difference"]
    assert {row["pipeline"] for row in compared} >= {"xraycls torch", "xraycls resident"}
    for row in compared:
        assert row["mean"] < 1.5, row
        assert abs(row["bias"]) < 0.3, row


@pytest.mark.exhaustive
def test_train_reports_shares_of_ceiling_and_plain_fp32(phantoms, run):
    result = run(
        train,
        *("--data", phantoms, "--rounds", 1, "--epochs", 1, "--images", 4, "--batch-size", 2),
        *("--seconds", 0, "--threads", 1),
    )
    assert [(row["source"], row["engine"]) for row in result["rows"]] == [("jpeg", "torch"), ("prepared", "torch")]
    for row in result["rows"]:
        assert row["share_of_ceiling"] == pytest.approx(row["images_per_second"] / row["ceiling"])
        assert row["times_fp32"] == pytest.approx(row["images_per_second"] / result["fp32"]["resnet18"])
        assert row["seconds_an_epoch"] == pytest.approx(5300 / row["images_per_second"])
        assert 0 <= row["waiting"] <= 1
    assert result["not_measured"] == {}


@pytest.mark.walkthrough
def test_memory_reads_every_epoch_and_ends_well_when_nothing_grows(phantoms, run, monkeypatch):
    monkeypatch.setattr(memory, "combinations", lambda sources, places: [("resident", "prepared", CPU)])
    monkeypatch.setattr(memory, "grows", lambda values: False)
    result = run(memory, "--data", phantoms, "--epochs", 4, "--images", 8, "--batch-size", 4)
    (row,) = result["rows"]
    assert (row["engine"], row["source"], row["grows"]) == ("resident", "prepared", False)
    assert len(row["host"]["epochs"]) == 4
    assert row["host"]["last"] > 50 * memory.MIB  # a process with torch in it
    assert row["host"]["largest"] == max(row["host"]["epochs"])


@pytest.mark.parametrize(
    ("mebibytes", "expected"),
    [
        ([100, 300, 500, 500, 501, 500, 500], False),  # settles after two epochs
        ([500, 500, 500, 504, 507, 510, 509], False),  # within 2 % of it
        ([500, 500, 500, 510, 520, 530, 540], True),
        ([50, 50, 50, 52, 53, 54, 56], False),  # above 2 %, but within 8 MiB
        ([50, 50, 50, 54, 58, 62, 66], True),
    ],
)
def test_growth_is_a_rise_by_more_than_two_per_cent_and_eight_mebibytes(mebibytes, expected):
    assert memory.grows([value * memory.MIB for value in mebibytes]) is expected


def test_the_exact_rendering_is_not_cut_down_to_whole_grey_levels(tmp_path):
    """A linear ramp, seen in its own size and shifted by a half, has a mean of x.5 in every pixel."""
    path = tmp_path / "ramp.png"
    Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (64, 1))).save(path)
    view = View(np.array([[1.0, 0.0, 8.5], [0.0, 1.0, 8.0]]))
    np.testing.assert_allclose(exact_rendering(path, view, 32), np.tile(np.arange(32) + 8.5, (32, 1)), atol=1e-3)


def test_differences_follow_the_order_of_the_epoch(phantoms):
    table = read_table(phantoms)
    engine = training_engine("torch", table, find_recipe("classic2021", 64), CPU, 4, 0)
    exact = exact_pictures(engine, table, 6)
    assert difference(engine, exact)["worst"] < 3
    assert difference(engine, exact[::-1])["mean"] > 10
    lifted = difference(engine, exact - 1)
    assert lifted["bias"] == pytest.approx(difference(engine, exact)["bias"] + 1)


def test_links_repeat_the_files_and_keep_validation_apart(phantoms, tmp_path):
    linked = read_table(linked_folder(read_table(phantoms), tmp_path / "linked", 20))
    train_files, val_files = ([s.path.resolve() for s in linked.split(name)] for name in ("train", "val"))
    assert len(train_files) == 20
    assert linked.split("val").counts() == {"NORMAL": 2, "PNEUMONIA": 2}
    assert linked.split("train").counts() == {"NORMAL": 10, "PNEUMONIA": 10}
    assert not set(train_files) & set(val_files)


def test_rows_of_an_archive_are_no_files(tmp_path):
    np.savez(
        tmp_path / "set.npz",
        **{f"{split}_images": np.zeros((4, 28, 28), np.uint8) for split in ("train", "val", "test")},
        **{f"{split}_labels": np.array([[0], [1], [0], [1]]) for split in ("train", "val", "test")},
    )
    with pytest.raises(UsageError, match="holds no image files"):
        original_files(tmp_path / "set.npz", tmp_path)


def test_runs_take_turns_after_one_warm_up():
    order = []

    def work(name):
        order.append(name)
        return 3

    rates = interleaved({"a": lambda: work("a"), "b": lambda: work("b")}, rounds=2, at_least=0)
    assert order == ["a", "b"] * 3
    assert [len(values) for values in rates.values()] == [2, 2]
    assert median_ratio([2, 8, 9], [1, 2, 3]) == 3


def test_short_work_is_repeated_and_counted():
    calls = []
    assert rate(lambda: calls.append(1) or 5, at_least=0.01) > 0
    assert len(calls) > 1


def test_an_error_of_ours_ends_a_script_with_its_sentence(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["loader", "--device", "cuda:99"])
    with pytest.raises(SystemExit, match=r"cuda:99 was asked for"):
        in_sentences(loader.main)


def test_the_last_table_says_what_failed(tmp_path, monkeypatch, capsys):
    (tmp_path / "steps.tsv").write_text("tests\t0\t5\nloader\t124\t90\ntrain\t1\t3\nmemory\t-\t0\n")
    result = {"net": "resnet18", "source": "prepared", "engine": "resident", "compiled": False}
    result |= {"images_per_second": 10_600, "share_of_ceiling": 0.97, "seconds_an_epoch": 0.5}
    (tmp_path / "train.json").write_text(json.dumps({"rows": [result]}))
    engine = {"model": "ssd", "form": "tao", "precision": "int8", "result": "agrees", "milliseconds": 1.25}
    (tmp_path / "tensorrt.json").write_text(json.dumps({"trtexec": "11", "engines": [engine]}))
    timing = {"runtime": "tensorrt", "precision": "fp32", "batch": 8, "images_per_second": 4321, "apart": 2e-4}
    (tmp_path / "inference.json").write_text(json.dumps([timing]))
    monkeypatch.setattr(sys, "argv", ["gpu_table", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        gpu_table.main()
    assert end.value.code == 1
    shown = capsys.readouterr().out
    for words in (
        "out of time",
        "exit code 1",
        "no CUDA GPU",
        "97.0% of the ceiling, 0.50 s for 5,300",
        "1.25 ms",
        "4,321 images/s, 2.0e-04 from torch",
    ):
        assert words in shown


@pytest.mark.exhaustive
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU: the script would run its benchmarks")
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_gpu_script_says_that_there_is_no_gpu(tmp_path):
    stub = tmp_path / "python"  # passes everything on but the GPU test suite, which is tested on its own
    stub.write_text(f'#!/bin/sh\n[ "$2" = pytest ] && exit 0\nexec {sys.executable} "$@"\n')
    stub.chmod(0o755)
    done = subprocess.run(
        ["bash", str(ROOT / "benchmarks" / "gpu.sh")],
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(stub), "OUT": str(tmp_path / "out")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "finds no CUDA GPU" in done.stdout
    assert done.stdout.count("not run: no CUDA GPU") == 6


@pytest.mark.exhaustive
def test_a_unet_on_phantoms_is_trained_tested_and_timed(run):
    small = "--films 24 --side 96 --backbone resnet10 --size 64 --epochs 1 --new 6 --rounds 1"
    result = run(unet_phantom, *small.split())
    assert result["report"]["images"] > 0
    assert result["report"]["ap_sample"]["value"] >= 0
    assert set(result["predict"]["ways"]) == {"predict", "predict --no-save-images", unet_phantom.FLOOR}
    assert all(way["films_per_second"] > 0 and way["cpu_ms"] > 0 for way in result["predict"]["ways"].values())


def test_the_table_of_boxed_findings_keeps_validation_for_the_test(tmp_path):
    (tmp_path / "boxes.csv").write_text("image,label,x,y,width,height\na.jpg,Mass,1,2,3,4\nb.jpg,Edema,1,2,3,4\n")
    (tmp_path / "images.csv").write_text("image,patient,split\na.jpg,p1,train\nb.jpg,p2,val\n")
    table, names = nih_findings.table_of(tmp_path, tmp_path / "table.csv")
    assert names == ["Edema", "Mass"]
    assert table.read_text().split() == ["image,patient,split,Edema,Mass", "a.jpg,p1,,0,1", "b.jpg,p2,test,1,0"]
