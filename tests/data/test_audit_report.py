import base64
import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from xraycls.data.audit import audit, write_report
from xraycls.data.phantom import write_phantom
from xraycls.data.source import read_source
from xraycls.errors import UsageError, XrayclsError

LONG = "ä" * 90 + "x" * 15  # 195 bytes, and 200 with its suffix


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """Copies, a damaged file, and names that are hard to handle."""
    folder = tmp_path_factory.mktemp("faulty") / "ein Röntgenbild & <b>"
    write_phantom(folder, images=12, size=96, threads=1)
    train = sorted((folder / "train/NORMAL").iterdir())
    shutil.copy(train[0], folder / "test/NORMAL" / f"{LONG}.jpeg")
    train[1].rename(folder / "train/NORMAL" / 'Fräulein Müller "ß" & <i>.jpeg')
    (folder / 'train/NORMAL/Fräulein Müller "ß" & <i>.jpeg').write_bytes(b"")
    return audit(read_source(folder))


def test_files_for_programs_and_people(faulty, tmp_path):
    folder = tmp_path / "some report"
    write_report(faulty, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["audit.html", "audit.json", "findings.csv"]
    told = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    assert (told["pictures"], told["quick"]) == (13, False)
    assert [finding["kind"] for finding in told["findings"]] == ["unreadable", "duplicate-across-splits"]
    with (folder / "findings.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["finding"] for row in rows] == ["unreadable", *["duplicate-across-splits"] * 2]
    assert rows[0]["path"] == 'train/NORMAL/Fräulein Müller "ß" & <i>.jpeg'
    assert rows[0]["note"] == "empty"
    assert rows[1]["path"] == f"test/NORMAL/{LONG}.jpeg"
    assert {row["group"] for row in rows[1:]} == {"1"}
    assert all((faulty.table.root / row["path"]).exists() for row in rows)


def test_the_page_shows_what_was_found(faulty, tmp_path):
    write_report(faulty, tmp_path / "report")
    text = (tmp_path / "report/audit.html").read_text(encoding="utf-8")
    assert "Error: 1 file of 13 can&#39;t be read" in text
    assert "<i>" not in text
    assert "<b>" not in text
    pictures = [Image.open(io.BytesIO(base64.b64decode(code))) for code in re.findall(r"jpeg;base64,([^\"]+)", text)]
    assert len(pictures) == 2
    for picture in pictures:
        picture.load()
    assert pictures[1].width == pytest.approx(2 * 250, abs=60)  # the copies side by side


def test_clean_data_has_a_page_too(tmp_path):
    write_phantom(tmp_path / "films", images=12, size=96, threads=1)
    write_report(audit(read_source(tmp_path / "films"), quick=True), tmp_path / "report")
    assert "Nothing found" in (tmp_path / "report/audit.html").read_text(encoding="utf-8")
    assert len((tmp_path / "report/findings.csv").read_text().splitlines()) == 1


@pytest.mark.parametrize("inside", [".", "report", "train/NORMAL"])
def test_nothing_is_written_into_the_data(faulty, inside):
    before = sorted(faulty.table.root.rglob("*"))
    with pytest.raises(UsageError, match="lies in the data"):
        write_report(faulty, faulty.table.root / inside)
    assert sorted(faulty.table.root.rglob("*")) == before


def test_a_place_that_cannot_be_written(faulty, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(XrayclsError, match="could not be written"):
        write_report(faulty, tmp_path / "file" / "report")


def test_no_identifier_leaves_the_table(tmp_path):
    write_phantom(tmp_path / "films", images=12, size=96, threads=1)
    paths = sorted(path.relative_to(tmp_path / "films") for path in (tmp_path / "films").glob("t*/*/*.jpeg"))
    lines = [f"{path},{path.parts[1]},{path.parts[0]},Mustermann {n % 4}\n" for n, path in enumerate(paths)]
    (tmp_path / "films.csv").write_text("path,label,split,patient\n" + "".join(lines))
    made = audit(read_source(tmp_path / "films.csv", images=tmp_path / "films"))
    assert "patient-across-splits" in [finding.kind for finding in made.findings]
    write_report(made, tmp_path / "report")
    for path in (tmp_path / "report").iterdir():
        assert b"Mustermann" not in path.read_bytes()


def test_pictures_of_containers(tmp_path, shared):
    table = read_source(shared / "data/pneumoniamnist/pneumoniamnist.npz")
    made = audit(table.with_samples(s for s in table if s.row < 300 or s.split != "train"))
    write_report(made, tmp_path / "report")
    assert Path(tmp_path / "report/audit.html").stat().st_size > 10_000
