"""The benchmark of Faster R-CNN runs end to end on small pictures, with light networks in the place of ResNet-50."""

import json
import sys
from functools import partial

import pytest
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

from benchmarks import common, faster_rcnn
from benchmarks.common import rate
from xraycls.errors import UsageError


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the script, every measurement once, and gives what it wrote."""
    light = partial(fasterrcnn_mobilenet_v3_large_320_fpn, weights=None, weights_backbone=None, num_classes=2)
    monkeypatch.setattr(faster_rcnn, "peer", lambda size: light(min_size=size, max_size=size))
    monkeypatch.setattr(faster_rcnn, "computes_bf16", lambda device: False)
    monkeypatch.setattr(common, "rate", lambda work, at_least, clock: rate(work, 0, clock))

    def run(*arguments):
        path = tmp_path / "result.json"
        given = [
            "--rounds",
            1,
            "--size",
            64,
            "--batch-size",
            1,
            "--backbones",
            "resnet10",
            "--regions",
            4,
            "--json",
            path,
            *arguments,
        ]
        monkeypatch.setattr(sys, "argv", ["faster_rcnn", *map(str, given)])
        faster_rcnn.main()
        return json.loads(path.read_text())

    return run


@pytest.mark.exhaustive
def test_rates_stand_beside_the_arithmetic_of_both(run, capsys):
    result = run("--parts", "step,inference")
    for part in ("step", "inference"):
        peer, *ours = result[part]
        assert peer["times_torchvision"] == 1
        assert [row["net"] for row in ours] == ["xraycls resnet10, fp32"]
        for row in result[part]:
            assert row["gflops_per_second"] == pytest.approx(row["gflops"] / row["seconds"], rel=1e-6)
    # The backward pass of a convolution is two of its size.
    assert result["step"][1]["gflops"] > 2 * result["inference"][1]["gflops"] > 0
    assert "GFLOP/s" in capsys.readouterr().out


def test_memory_is_that_of_a_process(run):
    peak, before = faster_rcnn.peak_of("xraycls resnet10, fp32", 64, 1, 4, steps=1)
    assert peak >= before > 100 * faster_rcnn.MIB


def test_unknown_parts_are_refused(run):
    with pytest.raises(UsageError, match="--parts"):
        run("--parts", "speed")
