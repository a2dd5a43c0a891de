import logging
import os
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest

from xraycls.data.folder import image_files, pictures_below, read_folder
from xraycls.data.pictures import list_images
from xraycls.data.scan import PassedOver, is_special, list_folder
from xraycls.data.source import read_table
from xraycls.errors import DataError

JUNK = {
    "a.heic": b"\0\0\0\x18ftypheic",
    "b.HEIF": b"\0\0\0\x18ftypmif1"[:8] + b"heix",
    "report.pdf": b"%PDF-1.4",
    "more.zip": b"PK\x03\x04",
    "more.tar": b"x" * 257 + b"ustar",
    "more.tgz": b"\x1f\x8b",
    "more.7z": b"7z\xbc\xaf\x27\x1c",
    "more.rar": b"Rar!\x1a\x07",
    "scan.nii": b"\0" * 344 + b"n+1\0",
    "scan.nrrd": b"NRRD0004",
    "scan.mhd": b"ObjectType = Image",
    "clip.mp4": b"\0\0\0\x18ftypisom",
    "clip.avi": b"RIFF\0\0\0\0AVI ",
    "array.npy": b"\x93NUMPY",
    "layers.psd": b"8BPS",
    "favicon.ico": b"\0\0\x01\0\x01",
    "light.exr": b"v/1\x01",
    "page.aspx": b"<html>",
    "tool.exe": b"MZ\x90\0",
    "raw.raw": b"\0\x01\x02\x03",
    "noname": b"\0\x01\x02\x03",
}

MORE_JUNK = {
    "letter.doc": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "letter.docx": b"PK\x03\x04\x14\0word/",
    "sheet.xlsx": b"PK\x03\x04\x14\0xl/",
    "slides.pptx": b"PK\x03\x04\x14\0ppt/",
    "page.html": b"<!DOCTYPE html><html>",
    "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "print.ps": b"%!PS-Adobe-3.0",
    "print.eps": b"\xc5\xd0\xd3\xc6",
    "base.sqlite": b"SQLite format 3\0",
    "voice.wav": b"RIFF\0\0\0\0WAVE",
    "voice.mp3": b"ID3\x04",
    "voice.ogg": b"OggS",
    "clip.mkv": b"\x1aE\xdf\xa3",
    "clip.flv": b"FLV\x01",
    "mesh.stl": b"solid mesh",
    "mesh.ply": b"ply\nformat ascii 1.0",
    "array.npz": b"PK\x03\x04array.npy",
    "array.mat": b"MATLAB 5.0 MAT-file",
    "array.h5": b"\x89HDF\r\n\x1a\n",
    "table.parquet": b"PAR1",
    "model.pth": b"PK\x03\x04archive/data.pkl",
    "model.pkl": b"\x80\x04\x95",
    "model.onnx": b"\x08\x07\x12\x07pytorch",
    "model.safetensors": b"\x08\0\0\0\0\0\0\0{}      ",
    "more.gz": b"\x1f\x8b\x08",
    "more.bz2": b"BZh91AY&SY",
    "more.xz": b"\xfd7zXZ\0",
    "more.zst": b"(\xb5/\xfd",
    "disk.iso": b"\0" * 64,
    "library.so": b"\x7fELF",
    "module.pyc": b"\xa7\r\r\n",
    "code.class": b"\xca\xfe\xba\xbe",
    "code.wasm": b"\0asm",
    "letters.ttf": b"\0\x01\0\0",
    "letters.woff2": b"wOF2",
    "key.pem": b"-----BEGIN CERTIFICATE-----",
    "settings.json": b"{}",
    "settings.yaml": b"a: 1",
    "cut.png": b"\x89PNG",
    "words.png": b"no picture",
    "nothing.jpg": b"",
}


def film(path: Path, seed: int = 0, side: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8))
    return path


@pytest.mark.parametrize("name", JUNK)
def test_a_file_that_is_no_picture_is_counted_by_kind(tmp_path, name, caplog):
    film(tmp_path / "A/1.png")
    film(tmp_path / "B/1.png", 1)
    (tmp_path / "A" / name).write_bytes(JUNK[name])
    with caplog.at_level(logging.WARNING):
        assert len(read_folder(tmp_path)) == 2
    assert "1 file is no picture that can be read" in caplog.text
    assert name in caplog.text


def test_files_that_belong_beside_pictures_need_no_word(tmp_path, caplog):
    film(tmp_path / "A/1.png")
    film(tmp_path / "B/1.png", 1)
    for name in ("notes.txt", "Thumbs.db", "desktop.ini", "boxes.xml", "README", "LICENSE", "x.unknown", ".DS_Store"):
        (tmp_path / "A" / name).write_text("some words\n")
    (tmp_path / "A/empty").touch()
    with caplog.at_level(logging.INFO):
        assert len(read_folder(tmp_path)) == 2
    assert not caplog.records


@pytest.mark.parametrize("name", ["film.jfif", "film", "film.2", "film.JPG_large", "film.img"])
def test_the_content_decides_whatever_the_suffix(tmp_path, name):
    source = film(tmp_path / "film.jpg")
    source.rename(tmp_path / name)
    assert [path.name for path in image_files(tmp_path)] == [name]
    assert read_table_of_one(tmp_path / name) == (32, 32)


def read_table_of_one(path: Path) -> tuple[int, ...]:
    from xraycls.data.open import read_grey

    return read_grey(path).shape


def special_files(folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in ("", ".png", ".dcm", ".txt", ".csv", ".json", ".xml", ".tfrecord", ".parquet"):
        os.mkfifo(folder / f"pipe{suffix}")
    here = Path.cwd()
    os.chdir(folder)  # names of sockets are short
    try:
        for name in ("s", "s.jpg"):
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(name)
    finally:
        os.chdir(here)
    (folder / "null.png").symlink_to("/dev/null")
    return sorted(path.name for path in folder.iterdir())


def test_pipes_sockets_and_devices_are_never_opened(tmp_path, caplog):
    film(tmp_path / "A/1.png")
    film(tmp_path / "B/1.png", 1)
    names = special_files(tmp_path / "A/odd")
    special_files(tmp_path)  # where detection of formats looks
    assert len(list_folder(tmp_path / "A/odd").others) == len(names) == 12
    with caplog.at_level(logging.WARNING):
        assert len(read_table(tmp_path)) == 2
        assert len(list_images([tmp_path])) == 2
    assert "18 named pipes (" in caplog.text
    assert "sockets" in caplog.text
    assert "device" in caplog.text


@pytest.mark.parametrize("name", ["pipe.png", "pipe.dcm", "pipe.csv", "pipe.npz", "pipe.json", "pipe.parquet"])
def test_a_pipe_that_is_named_is_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert is_special(tmp_path / name) == "a named pipe"
    with pytest.raises(DataError, match="pipe"):
        read_table(tmp_path / name)


def test_a_pipe_in_a_table_is_a_missing_image(tmp_path, caplog):
    os.mkfifo(tmp_path / "pipe.png")
    film(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("path,label\na.png,x\npipe.png,y\n")
    with caplog.at_level(logging.WARNING):
        assert len(read_table(tmp_path / "labels.csv")) == 1
    assert "missing" in caplog.text


@pytest.mark.parametrize("folder", ["@eaDir", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", ".thumbnails"])
def test_folders_of_systems_are_passed_over(tmp_path, folder):
    film(tmp_path / "A/1.png")
    film(tmp_path / "B/1.png", 1)
    film(tmp_path / "A" / folder / "2.png", 2)
    film(tmp_path / folder / "2.png", 2)
    assert read_folder(tmp_path).counts() == {"A": 1, "B": 1}


def test_ten_thousand_files_and_junk_are_listed(tmp_path):
    picture = film(tmp_path / "source.png").read_bytes()
    for label in "AB":
        for part in range(50):
            (tmp_path / "set" / label / str(part)).mkdir(parents=True)
    for number in range(5000):
        (tmp_path / "set" / "AB"[number % 2] / str(number % 50) / f"{number}.png").write_bytes(picture)
        (tmp_path / "set" / "AB"[number % 2] / str(number % 50) / f"{number}.txt").write_bytes(b"0 0.5 0.5 1 1")
    special_files(tmp_path / "set/A/0")
    for count in range(3):
        for name, content in JUNK.items():
            (tmp_path / "set/B/1" / f"{count}{name}").write_bytes(content)
    passed = PassedOver()
    assert len(list(image_files(tmp_path / "set", passed))) == 5000
    assert sum(passed.counts.values()) == 3 * len(JUNK) + 12
    assert len(passed.counts) > 15


def test_names_that_are_not_utf8_are_shown_with_escapes(tmp_path, caplog):
    film(tmp_path / "A/1.png")
    film(tmp_path / "B/1.png", 1)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/A/gr\xfc\xdf.pdf")).write_bytes(b"%PDF")
    with caplog.at_level(logging.WARNING):
        read_folder(tmp_path)
    assert "gr\\xfc\\xdf.pdf" in caplog.text
    caplog.text.encode()


def test_a_folder_of_masks_alone_is_what_was_asked_for(tmp_path):
    for number in range(3):
        film(tmp_path / "masks" / f"{number}.png", number)
    assert len(pictures_below(tmp_path)) == 3


def test_more_than_fifty_kinds_of_junk_are_no_pictures_whatever_they_are_called(tmp_path):
    junk = JUNK | MORE_JUNK
    assert len(junk) > 50
    film(tmp_path / "A/1.png")
    film(tmp_path / "B/1.png", 1)
    for name, content in junk.items():
        (tmp_path / "A" / name).write_bytes(content)
        if Path(name).suffix not in (".png", ".jpg"):
            (tmp_path / "B" / f"{name}.bak").write_bytes(content)
    named = {"cut.png", "words.png", "nothing.jpg"}  # that the suffix calls pictures: found, and then refused by name
    table = read_folder(tmp_path)
    assert {sample.path.name for sample in table} <= {"1.png"} | named
    for name in named & {sample.path.name for sample in table}:
        with pytest.raises(DataError, match=name):
            read_table_of_one(tmp_path / "A" / name)
