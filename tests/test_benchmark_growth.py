"""The script on growth draws what it says, and computes its slopes from what it measured."""

import json
import sys

import cv2
import pytest

from benchmarks import growth


def test_pictures_differ_but_for_the_copies(tmp_path):
    growth.draw_pictures(tmp_path, 120)
    files = sorted(tmp_path.rglob("*.jpeg"), key=lambda path: int(path.stem.rpartition("_")[2]))
    contents = [path.read_bytes() for path in files]
    assert len(files) == 120
    same = [(row, row - 1) for row in range(1, 120) if contents[row] == contents[row - 1]]
    assert same == [(2, 1), (102, 101)]
    assert len(set(contents)) == 118
    again, first = (cv2.imread(str(files[row]), cv2.IMREAD_GRAYSCALE).astype(int) for row in (1, 0))
    assert 0 < abs(again - first).mean() < 5  # the same film, compressed again


def test_a_step_is_measured_at_every_size_within_the_limit(tmp_path, monkeypatch, capsys):
    def measured(step, folder, rows):
        files = len(list((folder / "all").rglob("*.jpeg")))
        assert files == rows
        return {"cpu_seconds": rows**2 / 100, "bytes": 7.0 * rows}

    class Pool:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, work, *arguments):
            return type("Done", (), {"result": lambda _: work(*arguments)})()

    monkeypatch.setattr(growth, "measured", measured)
    monkeypatch.setattr(growth, "ProcessPoolExecutor", Pool)
    step = growth.grown("list", [10, 100, 1000], limit=50.0, ram=tmp_path)
    assert [point["rows"] for point in step["points"]] == [10, 100]
    assert step["left_out"] == [1000]
    assert step["slope"] == pytest.approx(2)
    assert step["bytes_a_row"] == pytest.approx(7)
    growth.report([step])
    shown = capsys.readouterr().out
    assert "list at 1,000" in shown
    assert "Slopes above 1.1: list" in shown
    growth.draw([step], tmp_path / "growth.png")
    assert cv2.imread(str(tmp_path / "growth.png")) is not None


@pytest.mark.exhaustive
@pytest.mark.parametrize("step", growth.STEPS)
def test_every_step_runs(tmp_path, monkeypatch, step):
    path = tmp_path / "growth.json"
    monkeypatch.setattr(sys, "argv", ["growth", "--steps", step, "--sizes", "60", "120", "--json", str(path)])
    growth.main()
    (found,) = json.loads(path.read_text())["steps"]
    assert [point["rows"] for point in found["points"]] == [60, 120]
    assert all(point["cpu_seconds"] > 0 for point in found["points"])
