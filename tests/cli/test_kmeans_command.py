"""``xraycls yolo_v4 kmeans`` as its users type it."""

import json
import re

import cv2
import numpy as np
import pytest

from xraycls.cli import main
from xraycls.data.protobuf import parse_text
from xraycls.tao.kmeans import find_anchors, write_anchors

SPEC = """# big_anchor_shape: "[(1, 1)]" is an old one
yolov4_config {
  arch: "resnet"  # "big_anchor_shape"
  big_anchor_shape: "[(100.0, 90.0), "
                    "(120.0, 80.0)]"
  mid_anchor_shape:'[(1.0, 2.0)]'
}
random_seed: 42
"""


@pytest.fixture
def labelled(tmp_path):
    """Twelve pictures of 200 x 100 with one box each: of 20 x 10, 60 x 20 and 100 x 80 pixels."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for number in range(12):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), np.zeros((100, 200), np.uint8))
        width, height = ((20, 10), (60, 20), (100, 80))[number % 3]
        line = f"car 0 0 0 5 5 {5 + width} {5 + height} 0 0 0 0 0 0 0\nshort 0 0 0 0 0 9 9 0\n"
        (tmp_path / "labels" / f"{number}.txt").write_text(line)
    return tmp_path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(each) for each in arguments])
    return int(end.value.code or 0)


def kmeans(folder, *more: object) -> int:
    folders = "-l", folder / "labels", "-i", folder / "images"
    return run("yolo_v4", "kmeans", *folders, "-x", 400, "-y", 400, *more)


def test_the_printed_block_is_that_of_tao(labelled, capsys):
    assert kmeans(labelled, "-n", 3) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Start optimization iteration: 1"
    start = lines.index("Please use following anchor sizes in YOLO config:")
    assert lines[start + 1 : start + 4] == ["(40.00, 40.00)", "(120.00, 80.00)", "(200.00, 320.00)"]


def test_the_three_fields_are_written_and_nothing_else(labelled, capsys):
    spec = labelled / "spec.txt"
    spec.write_text(SPEC)
    assert kmeans(labelled, "-n", 3, "--write", spec) == 0
    written = spec.read_text()
    assert 'big_anchor_shape: "[(200.00, 320.00)]"\n  mid_anchor_shape:"[(120.00, 80.00)]"\n' in written
    assert '\n  small_anchor_shape: "[(40.00, 40.00)]"' in written
    assert written.startswith('# big_anchor_shape: "[(1, 1)]" is an old one\n')
    assert 'arch: "resnet"  # "big_anchor_shape"\n' in written
    assert written.endswith("}\nrandom_seed: 42\n")


def test_a_tiny_network_takes_no_small_anchors(tmp_path):
    spec = tmp_path / "spec.txt"
    spec.write_text('yolov4_config {\n  arch: "cspdarknet_tiny"\n}\n')
    write_anchors(spec, [(1.0, 2.0), (3.0, 4.0)])
    assert "small" not in spec.read_text()
    assert re.search(r'mid_anchor_shape: "\[\(1\.00, 2\.00\)\]"', spec.read_text())


def test_small_boxes_do_not_count(labelled):
    found = find_anchors([labelled / "labels"], [labelled / "images"], (400, 400), 2, smallest=(40, 40))
    assert [tuple(round(side) for side in shape) for shape in found] == [(120, 80), (200, 320)]


def test_status_json_holds_the_anchors(labelled):
    assert kmeans(labelled, "-n", 3, "--results_dir", labelled / "results") == 0
    lines = [json.loads(line) for line in (labelled / "results" / "status.json").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["STARTED", "RUNNING", "SUCCESS"]
    assert "(200.00, 320.00)" in lines[1]["kpi"]["k-means generated anchors"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("-n", 40),
            "40 anchors can't be found in 12 boxes of 3 different shapes. Ask for fewer",
        ),
        (("-n", 2, "--write", "spec.txt"), "2 anchors can't be shared by the 3 maps of spec.txt."),
        (("-l", "labels"), "2 label folders and 1 image folders are no pairs."),
    ],
)
def test_bad_input_is_one_sentence(labelled, capsys, monkeypatch, arguments, sentence):
    monkeypatch.chdir(labelled)
    (labelled / "spec.txt").write_text(SPEC)
    assert kmeans(labelled, *arguments) != 0
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_a_class_of_two_words_is_named(labelled, capsys):
    (labelled / "labels" / "3.txt").write_text("big car 0 0 0 x 5 50 60 0 0 0 0 0 0 0\n")
    assert kmeans(labelled) != 0
    assert "3.txt, line 1: words 5 to 8 are no numbers" in " ".join(capsys.readouterr().err.split())


def test_the_written_text_is_still_protobufs(labelled):
    spec = labelled / "spec.txt"
    spec.write_text(SPEC)
    write_anchors(spec, [(1.0, 2.0), (3.0, 4.0), (5.0, 6.0)])
    from xraycls.tao.messages import message_of
    from xraycls.tao.networks.yolo_v4 import YOLOv4Spec

    message = parse_text(message_of(YOLOv4Spec), spec.read_text())
    assert message.yolov4_config.small_anchor_shape == "[(1.00, 2.00)]"
    assert message.yolov4_config.big_anchor_shape == "[(5.00, 6.00)]"
