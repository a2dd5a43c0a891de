"""The audit's benchmark runs end to end on a few phantoms."""

import json
import sys

from benchmarks import audit
from xraycls.data.phantom import write_phantom


def test_its_figures(tmp_path, monkeypatch, capsys):
    write_phantom(tmp_path / "films", images=12, size=96, threads=1)
    path = tmp_path / "result.json"
    arguments = ["--data", tmp_path / "films", "--whole", tmp_path / "films", "--rounds", 1, "--threads", 1]
    monkeypatch.setattr(sys, "argv", ["audit", *map(str, arguments), "--json", str(path)])
    audit.main()
    result = json.loads(path.read_text())
    assert [row["run"] for row in result["rows"]][:2] == ["audit", "facts alone"]
    assert len(result["rows"]) == 4
    assert all(row["images_per_second"] > 0 for row in result["rows"])
    assert (result["images"], result["whole"]["images"], result["whole"]["findings"]) == (12, 12, [])
    assert str(tmp_path) not in path.read_text()
    assert "A whole data set of 12 pictures" in capsys.readouterr().out
