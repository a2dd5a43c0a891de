"""The benchmark of detection runs end to end on a few phantoms, and its peer does what torchvision's references do."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from benchmarks import common, detection, detection_steps, mosaic
from benchmarks.common import rate
from benchmarks.detection_peers import BoxFiles, ssd300, ssd300_logits, ssd_transform
from xraycls.data.phantom import write_phantom
from xraycls.errors import UsageError
from xraycls.loaders.dali_graph import is_installed
from xraycls.types import Box, Sample


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the script, every measurement once, and gives what it wrote."""
    monkeypatch.setattr(common, "rate", lambda work, at_least, clock: rate(work, 0, clock))

    def run(*arguments):
        path = tmp_path / "result.json"
        given = ["--threads", 0, "--rounds", 1, "--device", "cpu", "--json", path, *arguments]
        monkeypatch.setattr(sys, "argv", ["detection", *map(str, given)])
        detection.main()
        return json.loads(path.read_text())

    return run


@pytest.mark.exhaustive
def test_every_engine_is_measured_against_torchvision_and_the_floor(tmp_path, run):
    write_phantom(tmp_path / "films", images=12, size=96, threads=1)
    result = run("--parts", "input", "--data", tmp_path / "films", "--size", 32, "--images", 4, "--batch-size", 2)
    part = result["input"]
    rows = {(row["pipeline"], row["source"]): row for row in part["rows"]}
    files = ("original files", "PNG copies")
    expected = {(f"torchvision, {backend}", source) for backend in ("PIL", "tensor") for source in files}
    expected |= {("decoding alone (floor)", source) for source in files}
    expected |= {("xraycls torch", source) for source in (*files, "prepared")} | {("xraycls resident", "prepared")}
    with_dali = {("xraycls dali", source) for source in (*files, "prepared")}
    assert set(rows) == (expected | with_dali if is_installed() else expected)
    assert len(part["not_measured"]) == (0 if is_installed() else len(with_dali))
    for source in files:
        peer, ours = rows["torchvision, PIL", source], rows["xraycls torch", source]
        assert peer["times_torchvision"] == rows["decoding alone (floor)", source]["share_of_floor"] == 1
        # One round, so that the median of ratios is the ratio.
        assert ours["times_torchvision"] == pytest.approx(ours["images_per_second"] / peer["images_per_second"])
    assert rows["xraycls resident", "prepared"]["share_of_floor"] is None
    assert 0 < part["files"]["original files"]["count"] < 12  # those without boxes are left out
    assert part["files"]["PNG copies"]["kinds"] == [".png"]


@pytest.fixture
def small_steps(monkeypatch):
    """Steps of small pictures in this process, beside a small peer: those of the real one take seconds."""
    light = partial(ssdlite320_mobilenet_v3_large, weights=None, weights_backbone=None, num_classes=2)
    here = {
        "ssd300": light,
        "SIZE": 64,
        "YOLO": 64,
        "_SECONDS": 0.0,
        "ProcessPoolExecutor": lambda workers, _context: ThreadPoolExecutor(workers),
    }
    for name, value in here.items():
        monkeypatch.setattr(detection_steps, name, value)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("small_steps")
def test_steps_stand_beside_the_size_of_their_networks(run, capsys):
    part = run("--parts", "step", "--nets", "resnet10", "--step-batch-size", 2)["step"]
    peer, ours = part["rows"][:2]
    assert peer["times_torchvision"] == 1
    assert ours["net"] == "xraycls resnet10, fp32"
    assert ours["times_torchvision"] == pytest.approx(peer["seconds"] / ours["seconds"])
    assert min(ours["gflops"], ours["parameters"], ours["anchors"]) > 0
    assert "xraycls resnet10, fp32" in capsys.readouterr().out


@pytest.mark.exhaustive
@pytest.mark.usefixtures("small_steps")
def test_a_yolo_v4_stands_beside_the_ssd_of_its_backbone(run):
    words = "--nets", "resnet10", "--yolo-nets", "resnet10", "--step-batch-size", 2
    rows = {row["net"]: row for row in run("--parts", "step", *words)["step"]["rows"]}
    yolo, ssd = rows["xraycls yolo_v4 resnet10, fp32"], rows["xraycls resnet10, fp32"]
    assert yolo["times_ssd"] == pytest.approx(yolo["gflops"] / yolo["seconds"] / (ssd["gflops"] / ssd["seconds"]))
    assert ssd["times_ssd"] is None
    assert yolo["anchors"] == 3 * (2 * 2 + 4 * 4 + 8 * 8)


@pytest.mark.exhaustive
def test_suppression_is_measured_against_torchvision(run, monkeypatch, capsys):
    monkeypatch.setattr(detection, "_PICTURES", 2)
    rows = run("--parts", "suppression")["suppression"]["rows"]
    assert [row["pipeline"] for row in rows] == ["xraycls", "torchvision"] * 2
    assert rows[1]["times_torchvision"] == 1
    assert "SSD of 512 pixels" in capsys.readouterr().out


def test_mosaics_are_measured_with_and_without_kept_pictures(tmp_path, run, monkeypatch):
    """The peer isn't installed in a test: it is missed with the reason."""
    monkeypatch.setattr(mosaic, "SIZE", 64)
    monkeypatch.setattr(mosaic, "PINS", ("no-such-package-of-that-name==0",))
    monkeypatch.setattr(mosaic, "_FOLDER", tmp_path / "peer")
    monkeypatch.setattr(mosaic, "installed_peer", lambda folder: (_ for _ in ()).throw(OSError("no network")))
    write_phantom(tmp_path / "films", images=12, size=96, threads=1)
    part = run("--parts", "mosaic", "--data", tmp_path / "films", "--images", 4, "--batch-size", 2)["mosaic"]
    names = [row["pipeline"] for row in part["rows"]]
    assert names[:2] == ["xraycls torch, files", "xraycls torch, kept"]
    assert all(row["images_per_second"] > 0 and row["times_peer"] is None for row in part["rows"])
    assert "no network" in next(iter(part["not_measured"].values()))


def test_the_peer_is_an_ssd300():
    with torch.device("meta"):
        net = ssd300()
        size = detection_steps.size_of(net, partial(ssd300_logits, net, torch.zeros(1, 3, 300, 300)))
    assert (size["anchors"], round(size["parameters"], -5)) == (8732, 23_700_000)
    assert 60 < size["gflops"] < 62


def test_evaluation_is_of_so_many_pictures_and_boxes(run):
    part = run("--parts", "evaluation", "--pictures", 20, "--boxes", 9)["evaluation"]
    assert [(row["classes"], row["resamples"]) for row in part["rows"]] == [(1, 1000), (1, 0), (4, 1000), (4, 0)]
    truths, found = detection.imagined(20, 9, 4)
    assert len(truths) == len(found) == 20
    assert {len(each.scores) for each in found} == {9}
    assert any(len(each.classes) == 0 for each in truths)


def test_the_peer_sees_boxes_where_the_picture_has_them(tmp_path):
    """A bright rectangle on black is where its box is, wherever expansion, crop and flip have put it."""
    pixels = np.zeros((80, 120), np.uint8)
    pixels[20:60, 30:90] = 255
    Image.fromarray(pixels).save(tmp_path / "box.png")
    sample = Sample(tmp_path / "box.png", boxes=(Box("opacity", 30, 20, 90, 60),))
    torch.manual_seed(0)
    files = BoxFiles([sample], ssd_transform(64, "tensor"))
    for image, target in (files[0] for _ in range(10)):
        assert image.shape == (3, 64, 64)
        assert image.dtype == torch.float32
        (left, top, right, bottom), *_ = target["boxes"].round().int().tolist()
        inside = image[:, top + 1 : bottom - 1, left + 1 : right - 1]
        assert inside.min() > image.mean() or inside.numel() == image.numel()


def test_pictures_without_boxes_are_refused(tmp_path, run):
    for name in ("NORMAL", "PNEUMONIA"):
        (tmp_path / name).mkdir()
        Image.new("L", (16, 16)).save(tmp_path / name / "a.png")
    with pytest.raises(UsageError, match="no picture with boxes"):
        run("--parts", "input", "--data", tmp_path)
