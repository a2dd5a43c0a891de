"""With ``strict``, a picture that is missing stops every reader; without, it is left out with a warning."""

import logging
from pathlib import Path

import pytest

from xraycls.data.formats import FORMATS, detect_format
from xraycls.data.formats.convert import convert
from xraycls.data.phantom import write_phantom
from xraycls.data.source import load_table, read_source
from xraycls.errors import DataError

WRITTEN = [name for name, each in FORMATS.items() if each.write]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("phantom") / "p", images=9, size=64).root


@pytest.mark.parametrize("to", WRITTEN)
def test_every_format_stops_at_a_missing_picture(phantom, tmp_path, caplog, to):
    out = tmp_path / "out"
    convert(phantom, out, to=to)
    assert len(read_source(out, strict=True)) == 9
    first = sorted((out / FORMATS[to].pictures).rglob("*.jpeg"))[0]
    first.unlink()
    with caplog.at_level(logging.WARNING):
        assert len(read_source(out)) == 8
    assert first.stem in caplog.text
    for read in (read_source, load_table):
        with pytest.raises(DataError, match=first.stem) as caught:
            read(out, strict=True)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("to", WRITTEN)
def test_the_hidden_files_of_macos_are_passed_over(phantom, tmp_path, to):
    out = tmp_path / "out"
    convert(phantom, out, to=to)
    before = read_source(out)
    for path in [path for path in out.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7Mac OS X")
    assert read_source(out, strict=True) == before


def test_pictures_that_a_configuration_leaves_out_are_not_missing(phantom, tmp_path):
    convert(phantom, tmp_path / "out", to="yolo")
    config = tmp_path / "out/data.yaml"
    config.write_text("".join(line for line in config.open() if not line.startswith("test")))
    assert set(read_source(config, strict=True).splits) == {"train", "val"}


def test_folders_that_a_configuration_names_in_vain(phantom, tmp_path, caplog):
    convert(phantom, tmp_path / "out", to="yolo")
    config = tmp_path / "out/data.yaml"
    config.write_text(config.read_text().replace("images/train", "elsewhere/train"))
    with caplog.at_level(logging.WARNING):
        assert set(read_source(config).splits) == {"val", "test"}
    assert "The train pictures of" in caplog.text
    with pytest.raises(DataError, match=r"are not there \(elsewhere/train\)"):
        read_source(config, strict=True)


def test_a_list_of_yolo_stops_as_well(phantom, tmp_path):
    convert(phantom, tmp_path / "out", to="yolo")
    picture = next((tmp_path / "out/images").rglob("*.jpeg"))
    (tmp_path / "out/data.yaml").unlink()
    (tmp_path / "out/train.txt").write_text(f"{picture}\nimages/gone.png\n")
    assert detect_format(tmp_path / "out").name == "yolo"
    assert len(read_source(tmp_path / "out")) == 1
    with pytest.raises(DataError, match=r"1 of 2 pictures that .*train\.txt names are missing: images/gone\.png"):
        read_source(tmp_path / "out", strict=True)
