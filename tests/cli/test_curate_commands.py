"""`xraycls data show`, `split` and `arrange` as a user meets them."""

import json

import cv2
import numpy as np
import pytest

from xraycls.cli import main
from xraycls.data.phantom import write_phantom

pytestmark = pytest.mark.walkthrough


def run(*arguments: object) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return int(end.value.code or 0)


def told(capfd) -> str:
    """Standard error as one line."""
    return " ".join(capfd.readouterr().err.split())


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "corona hack"
    write_phantom(folder, images=24, size=160, layout="coronahack")
    return folder


def test_show_writes_a_sheet_and_says_where(tiny, tmp_path, capfd):
    sheet = tmp_path / "new folder" / "sheet.jpg"
    assert run("data", "show", tiny, "--n", 4, "-o", sheet, "--split", "train", "--class", "PNEUMONIA") == 0
    assert capfd.readouterr().out == f"{sheet}\n"
    assert cv2.imread(str(sheet)).shape[1] == 14 + 2 * (308 + 14)


def test_show_uses_the_working_directory(tiny, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert run("data", "show", tiny, "-n", 1) == 0
    assert capfd.readouterr().out == "sheet.png\n"
    assert (tmp_path / "sheet.png").is_file()


@pytest.mark.parametrize(
    "options", ["--augmented", "--image 3", "--augment classic2021", "--size 64", "--image train-NORMAL-2.jpeg"]
)
def test_show_augmented(options, tiny, tmp_path):
    plain, sheet = tmp_path / "plain.png", tmp_path / "sheet.png"
    assert run("data", "show", tiny, "--n", 4, "-o", plain) == 0
    assert run("data", "show", tiny, "--n", 4, "-o", sheet, *options.split()) == 0
    assert cv2.imread(str(sheet)).shape[1] == cv2.imread(str(plain)).shape[1]
    assert sheet.read_bytes() != plain.read_bytes()


def test_split_writes_what_training_takes(tiny, tmp_path, capfd):
    file = tmp_path / "a split.csv"
    assert run("data", "split", tiny, "-o", file, "--redraw", "--val", 0.2, "--test", "0.1") == 0
    out = capfd.readouterr().out
    assert [row.split() for row in out.splitlines() if row.strip()][:5] == [
        ["NORMAL", "PNEUMONIA", "images", "patients"],
        ["─" * len(out.splitlines()[2].strip())],
        ["train", "14", "14", "28", "–"],
        ["val", "4", "4", "8", "–"],
        ["test", "2", "2", "4", "–"],
    ]
    assert f"Wrote {file}.\nNext: xraycls train --data '{file}'\n" in out
    assert run("data", "list", file) == 0
    assert "val: 4 NORMAL, 4 PNEUMONIA" in capfd.readouterr().out
    assert run("data", "split", tiny, "-o", file, "--redraw", "--val-fraction", 0.2, "--test-fraction", "0.1") == 0
    assert "it is all there already" in capfd.readouterr().out
    assert run("data", "split", tiny, "-o", file, "--redraw", "--seed", 1) == 1
    assert "holds something else. Replace it with --overwrite." in told(capfd)
    assert run("data", "split", tiny, "-o", file, "--redraw", "--seed", 1, "--overwrite") == 0


def test_split_draws_folds_and_speaks_json(tiny, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert run("data", "split", tiny, "--folds", 4, "--json") == 0
    said = json.loads(capfd.readouterr().out)
    assert said == {
        "files": [f"folds/fold-{number}.csv" for number in range(4)],
        "is_new": True,
        "parts": {f"fold {n}": {"classes": {"NORMAL": 4, "PNEUMONIA": 4}, "patients": 0} for n in range(4)}
        | {"test": {"classes": {"NORMAL": 4, "PNEUMONIA": 4}, "patients": 0}},
    }
    assert run("data", "list", "folds/fold-2.csv") == 0
    assert capfd.readouterr().out.splitlines() == [
        "train: 12 NORMAL, 12 PNEUMONIA",
        "val: 4 NORMAL, 4 PNEUMONIA",
        "test: 4 NORMAL, 4 PNEUMONIA",
    ]


def test_arrange_sorts_and_says_what_comes_next(phantom, tmp_path, capfd):
    out = tmp_path / "an arranged set"
    assert run("data", "arrange", "coronahack", phantom, out, "--central_crop", 0.9) == 0
    said = capfd.readouterr().out
    assert f"Arranged 24 pictures in {out}, 24 of them new.\nNext: xraycls train --data '{out}/metadata.csv'\n" in said
    assert run("data", "arrange", "coronahack", phantom, out, "--central-crop", 0.9, "--json") == 0
    said = json.loads(capfd.readouterr().out)
    parts = said.pop("parts")
    assert said == {"folder": str(out), "pictures": 24, "new": 0, "left_out": 0, "rejected": {}}
    assert sum(sum(counts.values()) for counts in parts.values()) == 24
    assert run("data", "arrange", "folder", out, tmp_path / "again", "--copy") == 0
    assert "Arranged 24 pictures" in capfd.readouterr().out


def test_arrange_tells_what_was_left_out(tiny, tmp_path, capfd):
    assert run("data", "arrange", "folder", tiny, tmp_path / "out", "--keep-bad") == 0
    capfd.readouterr()
    assert run("data", "arrange", "folder", tiny, tmp_path / "other") == 1
    assert "has no good picture" in told(capfd)  # of 40 pixels a side
    arranged = write_phantom(tmp_path / "films", images=6, size=160)
    arranged[0].path.write_bytes(b"")
    assert run("data", "arrange", "folder", tmp_path / "films", tmp_path / "good") == 0
    assert "Left out 1 (1 unreadable): see rejected.csv and rejected.png there." in capfd.readouterr().out


def test_arrange_stopped_by_ctrl_c_says_how_to_go_on(phantom, tmp_path, monkeypatch, capfd):
    with monkeypatch.context() as patch:
        patch.setattr("xraycls.data.arrange.write.share_file", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run("data", "arrange", "coronahack", phantom, tmp_path / "out") == 130
    assert "The same command goes on from here" in told(capfd)
    assert run("data", "arrange", "coronahack", phantom, tmp_path / "out") == 0


MISTAKES = {
    "no data": ("show no/such", 1, "There is no file or folder no/such"),
    "another suffix": ("show TINY -o sheet.doc", 2, "written as .doc"),
    "no pictures": ("show TINY --n 0", 2, "--n"),
    "unknown class": ("show TINY --class pneumnia", 2, "Did you mean PNEUMONIA?"),
    "unknown split": ("show TINY --split tset", 2, "Did you mean test?"),
    "no such image": ("show TINY --image 99", 1, "has no image 99"),
    "unknown recipe": ("show TINY --augment radiogrph", 2, "Did you mean radiograph?"),
    "too small": ("show TINY --size 2", 2, "--size 2 is too small"),
    "nothing to train on": ("split TINY --redraw --val 0.6 --test 0.5 -o x.csv", 2, "leave nothing to train on"),
    "no CSV": ("split TINY -o x.txt", 2, "--output x.txt is no CSV"),
    "shares of folds": ("split TINY --folds 5 --val 0.2", 2, "don't go with --folds"),
    "too many folds": ("split TINY --folds 17", 1, "No 17 folds can be drawn"),
    "one fold": ("split TINY --folds 1", 2, "--folds 1 makes no folds"),
    "an archive": ("split ARCHIVE -o x.csv", 1, "no file of its own"),
    "unknown set": ("arrange coronahac TINY x", 2, "Did you mean coronahack?"),
    "not coronahack": ("arrange coronahack TINY x", 1, "holds no Chest_xray_Corona_Metadata.csv"),
    "inside the source": ("arrange folder TINY TINY/x", 1, "lies inside"),
    "no fraction": ("arrange folder TINY x --central-crop 90", 2, "--central-crop 90 is no fraction"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_the_right_exit_code(mistake, tiny, tmp_path, monkeypatch, capfd):
    command, code, words = MISTAKES[mistake]
    monkeypatch.chdir(tmp_path)
    arrays = {f"{split}_images": np.zeros((8, 28, 28), np.uint8) for split in ("train", "val", "test")}
    labels = {f"{split}_labels": np.arange(8)[:, None] % 2 for split in ("train", "val", "test")}
    np.savez(tmp_path / "archive.npz", **arrays, **labels)
    filled = [word.replace("TINY", str(tiny)).replace("ARCHIVE", "archive.npz") for word in command.split()]
    assert run("data", *filled) == code
    err = told(capfd)
    assert words in err
    assert "Traceback" not in err
    assert {path.name for path in tmp_path.iterdir()} == {"archive.npz"}
