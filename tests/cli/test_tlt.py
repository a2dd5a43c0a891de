"""Command lines of TLT and TAO, word by word."""

import sys

import pytest

from xraycls.cli import tlt

REST = ["-e", "spec.txt", "-k", "tlt"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tlt ssd train", "ssd train"),
        ("tao ssd train", "ssd train"),
        ("tao model ssd train", "ssd train"),
        ("tao dssd train", "ssd train"),
        ("tlt-train dssd", "ssd train"),
        ("/usr/local/bin/tlt yolo_v4 kmeans", "yolo_v4 kmeans"),
        ("tlt-train ssd", "ssd train"),
        ("tlt-evaluate ssd", "ssd evaluate"),
        ("tlt-infer ssd", "ssd inference"),
        ("tlt-infer faster_rcnn", "faster_rcnn inference"),
        ("tlt-train faster_rcnn", "faster_rcnn train"),
        ("tlt faster_rcnn train", "faster_rcnn train"),
        ("tlt faster_rcnn evaluate", "faster_rcnn evaluate"),
        ("tlt faster_rcnn inference", "faster_rcnn inference"),
        ("tlt faster_rcnn prune", "faster_rcnn prune"),
        ("tao model faster_rcnn train", "faster_rcnn train"),
        ("tlt faster_rcnn dataset_convert", "faster_rcnn dataset_convert"),
        ("tlt-export yolo_v4", "yolo_v4 export"),
        ("tlt-prune", "ssd prune"),
        ("tlt-prune ssd", "ssd prune"),
        ("tlt-dataset-convert", "dataset_convert"),
        ("tlt ssd dataset_convert", "ssd dataset_convert"),
        ("tao model yolo_v4 dataset_convert", "yolo_v4 dataset_convert"),
        ("tao detectnet_v2 dataset_convert", "dataset_convert"),
        ("tlt tlt-train ssd", "ssd train"),
        ("tlt tlt-dataset-convert", "dataset_convert"),
        ("tlt train ssd", "ssd train"),
        ("tlt tao model ssd inference", "ssd inference"),
        ("/opt/tlt-train ssd", "ssd train"),
        ("tlt ssd spec-check", "ssd spec-check"),
        ("tlt doctor", "doctor"),
    ],
)
def test_every_spelling(line, expected):
    program, *words = line.split()
    assert tlt.translated(program, [*words, *REST]) == [*expected.split(), *REST]


def test_words_alone():
    assert tlt.translated("tlt", []) == []
    assert tlt.translated("tlt", ["--help"]) == ["--help"]
    assert tlt.translated("tlt-train", []) == ["ssd", "train"]


def test_values_are_left_alone():
    arguments = ["ssd", "train", "-k", "tlt", "-e", "train", "-r", "model"]
    assert tlt.translated("tlt", arguments) == arguments


def test_the_program_runs_ours(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/bin/tlt-train", "ssd", "--help"])
    with pytest.raises(SystemExit) as end:
        tlt.main()
    assert not end.value.code
    assert "xraycls ssd train [OPTIONS]" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["dataset_convert", "train", "evaluate", "inference", "prune"])
def test_every_verb_of_faster_rcnn_takes_the_launchers_flags(monkeypatch, capsys, verb):
    """With a spec or a model that is not there, which is what is said, and not that a flag is unknown."""
    words = {
        "dataset_convert": ["-d", "/lost.txt", "-o", "/out/tf"],
        "prune": ["-m", "/lost.hdf5", "-o", "/out/p.hdf5"],
    }
    given = ["faster_rcnn", verb, "--gpu_index", "0", *words.get(verb, ["-e", "/lost.txt", "-k", "tlt"])]
    monkeypatch.setattr(sys, "argv", ["/bin/tlt", *given])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(SystemExit) as end:
        tlt.main()
    told = capsys.readouterr()
    assert end.value.code == 1
    assert "/lost" in told.err
    assert "Execution status: FAIL" in told.out
