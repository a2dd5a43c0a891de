"""``xraycls dataset_convert`` as its users type it."""

import cv2
import numpy as np
import pytest

from xraycls.cli import main

SPEC = """kitti_config {
  root_directory_path: "/workspace/tlt-experiments/data/formatted"
  image_dir_name: "images"
  label_dir_name: "labels"
  image_extension: ".png"
  partition_mode: "random"
  num_partitions: 2
  val_split: 25
  num_shards: 2
}
image_directory_path: "/workspace/tlt-experiments/data/formatted"
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    root = tmp_path / "mine" / "data" / "formatted"
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    for number in range(8):
        cv2.imwrite(str(root / "images" / f"{number}.png"), np.full((30, 40), 90, np.uint8))
        (root / "labels" / f"{number}.txt").write_text("opacity 0 0 0 1 2 30 20 0 0 0 0 0 0 0\n" * (number > 4))
    (tmp_path / "spec.txt").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(each) for each in arguments])
    return int(end.value.code or 0)


MOUNT = ("--mount", "/workspace/tlt-experiments=mine")


@pytest.mark.parametrize(
    "arguments",
    [
        ("dataset_convert", "-d", "spec.txt", "-o", "out/kitti"),
        ("dataset-convert", "--dataset_export_spec", "spec.txt", "--output_filename=out/kitti"),
        ("dataset_convert", "--data", "spec.txt", "--out", "out/kitti", "-f", 0, "--verb"),
        ("dataset_convert", "-d", "spec.txt", "-o", "/workspace/tlt-experiments/../out/kitti"),
    ],
)
def test_all_spellings_of_the_ancestor(project, capsys, arguments):
    assert run(*arguments, *MOUNT) == 0
    out = capsys.readouterr().out
    assert "Num images in\nTrain: 6\tVal: 2" in out
    assert "Writing partition 1, shard 1" in out
    assert "Cumulative object statistics\n\nWrote the following numbers of objects:\nopacity: 3\n" in out
    assert "Tfrecords generation complete." in out
    assert "Wrote 8 records in 4 files" in out
    assert len(list((project / "out").iterdir())) == 4


def test_a_mounts_file_says_where_folders_lie(project):
    content = '{"Mounts": [{"source": "%s", "destination": "/workspace/tlt-experiments"}]}'
    (project / ".tlt_mounts.json").write_text(content % (project / "mine"))
    assert run("dataset_convert", "-d", "spec.txt", "-o", "out/kitti") == 0


def test_a_list_of_classes_makes_records_for_ssd(project):
    (project / "classes.txt").write_text("opacity\n")
    code = run("dataset_convert", "-d", "spec.txt", "-o", "out/k", "-c", "classes.txt", "-r", "results", *MOUNT)
    assert code == 0
    assert len(list((project / "out").glob("idx-*"))) == 4
    assert '"SUCCESS"' in (project / "results" / "status.json").read_text()


def test_mistakes_are_one_sentence(project, capsys):
    assert run("dataset_convert", "-d", "spec.txt", "-o", "out/k") == 1
    assert "Error: There is no folder /workspace/tlt-experiments/data/formatted. Say where" in capsys.readouterr().err
    assert run("dataset_convert", "-d", "none.txt", "-o", "out/k") == 1
    assert "Error: none.txt: the spec could not be read" in capsys.readouterr().err
    assert run("dataset_convert", "-d", "spec.txt", "-o", "out/k", "--v", "0") == 2
    assert "--v is ambiguous: it could mean --validation-fold, --verbose." in capsys.readouterr().err
    for folder in ("out/", ".", ".."):
        assert run("dataset_convert", "-d", "spec.txt", "-o", folder, *MOUNT) == 2
        assert f"Error: -o {folder} is a folder. Say what the names of" in capsys.readouterr().err
    assert {path.name for path in project.iterdir()} == {"spec.txt", "mine"}
    (project / "spec.txt").write_text(SPEC.replace("num_shards", "num_shard"))
    assert run("dataset_convert", "-d", "spec.txt", "-o", "out/k", *MOUNT) == 1
    assert "Error: spec.txt, line 9: kitti_config has no field 'num_shard'. Did you mean 'num_shards'?" in (
        capsys.readouterr().err
    )
