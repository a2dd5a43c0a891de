import json

import pytest

from xraycls.cli import main
from xraycls.data.phantom import write_phantom


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("phantom") / "p", images=8, size=64).root


def run(*arguments: object) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return int(end.value.code or 0)


def test_counts_are_told(phantom, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("data", "convert", phantom, out, "--to", "kitti") == 0
    told = capsys.readouterr().out
    assert f"Wrote 8 pictures (4 train, 2 val, 2 test) to {out}.\n" in told
    assert "Boxes: 4 PNEUMONIA. Pictures without a box: 4.\n" in told
    assert f"Next: xraycls data list {out}\n" in told
    assert run("data", "list", out) == 0
    assert "POSITIVE" in capsys.readouterr().out


def test_programs_read_json(phantom, tmp_path, capsys):
    assert run("data", "convert", phantom, tmp_path / "out", "--to", "coco", "--pictures", "link", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pictures"], told["format"], told["left_out"]) == (8, "coco", {})
    kept = json.loads((tmp_path / "out/converted.json").read_text())
    assert {name: kept[name] for name in told} == told


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--to", "kitty"], 2, "Unknown format 'kitty' for --to. Did you mean kitti"),
        (["--to", "kitti", "--from", "voc"], 1, "holds no Pascal VOC annotations"),
        (["--to", "kitti", "--images", "nowhere"], 1, "The folder of images nowhere does not exist"),
    ],
)
def test_one_sentence(phantom, tmp_path, capsys, arguments, code, message):
    assert run("data", "convert", phantom, tmp_path / "out", *arguments) == code
    assert message in " ".join(capsys.readouterr().err.split())
