"""`xraycls data prepare` as a user meets it."""

import json

import pytest

from xraycls.cli import main


def run(*arguments: object) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return int(end.value.code or 0)


def test_it_says_what_it_wrote_and_what_comes_next(tiny, tmp_path, capfd):
    store = tmp_path / "a store"
    assert run("data", "prepare", tiny, store, "--size", 32, "--threads", 2) == 0
    out = capfd.readouterr().out
    assert f"Prepared 40 pictures of 32 × 32 pixels (0.0 MB) in {store}.\n" in out
    assert f"Next: xraycls train --data '{store}'\n" in out
    assert run("data", "prepare", tiny, store, "--size", 32) == 0
    assert f"{store} is already prepared: 40 pictures" in capfd.readouterr().out
    assert run("data", "list", store) == 0
    assert "train: 12 NORMAL, 12 PNEUMONIA" in capfd.readouterr().out


def test_json_for_programs(tiny, tmp_path, capfd):
    assert run("data", "prepare", tiny, tmp_path / "store", "--size", 16, "--central-crop", 0.9, "--json") == 0
    made = json.loads(capfd.readouterr().out)
    assert made == {
        "folder": str(tmp_path / "store"),
        "pictures": 40,
        "size": 16,
        "decoded": 40,
        "is_new": True,
        "left_out": {},
        "bytes": sum(p.stat().st_size for p in (tmp_path / "store").iterdir()),
    }


def test_ctrl_c_says_how_to_go_on(tiny, tmp_path, monkeypatch, capfd):
    from xraycls.data.partial_store import PartialStore

    with monkeypatch.context() as patch:
        patch.setattr(PartialStore, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run("data", "prepare", tiny, tmp_path / "store", "--size", 16) == 130
    err = capfd.readouterr().err
    assert "The same command goes on from here" in err
    assert "Traceback" not in err
    assert run("data", "prepare", tiny, tmp_path / "store", "--size", 16, "--json") == 0
    assert json.loads(capfd.readouterr().out)["decoded"] == 0


MISTAKES = {
    "no source": (["no/such", "STORE"], 1, "no/such"),
    "the source itself": (["SOURCE", "SOURCE"], 1, "holds something else"),
    "no size": (["SOURCE", "STORE", "--size", "3"], 2, "--size 3"),
    "no fraction": (["SOURCE", "STORE", "--central-crop", "90"], 2, "--central-crop 90"),
    "images without a CSV": (["SOURCE", "STORE", "--images", "SOURCE"], 2, "--images goes with a CSV"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_the_right_exit_code(mistake, tiny, tmp_path, capfd):
    arguments, code, words = MISTAKES[mistake]
    stand_ins = {"SOURCE": tiny, "STORE": tmp_path / "store"}
    assert run("data", "prepare", *(stand_ins.get(a, a) for a in arguments)) == code
    err = capfd.readouterr().err
    assert words in " ".join(err.split())
    assert "Traceback" not in err


def test_changed_sources_stop_a_training_with_the_way_out(draw_folder, tmp_path, capfd):
    source = draw_folder(tmp_path / "source", {"train": 6, "val": 2, "test": 2})
    assert run("data", "prepare", source, tmp_path / "store", "--size", 32) == 0
    (source / "train/NORMAL/train-NORMAL-0.jpeg").write_bytes(b"another")
    assert run("data", "list", tmp_path / "store") == 1
    err = " ".join(capfd.readouterr().err.split())
    assert "1 of 20 files changed since" in err
    assert f"xraycls data prepare {source} {tmp_path / 'store'} --size 32" in err
