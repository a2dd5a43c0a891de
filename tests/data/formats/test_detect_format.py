import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xraycls.cli.data.convert import _READ, _WRITTEN
from xraycls.data.formats import FORMATS, detect_format
from xraycls.data.phantom import write_phantom
from xraycls.data.source import read_source
from xraycls.errors import XrayclsError

FILES = ("labels/a.txt", "a.txt", "data.yaml", "coco.json", "Annotations/a.xml", "labels.csv", "train.txt")


def test_folders_of_classes_are_in_no_format(tiny, tmp_path):
    write_phantom(tmp_path / "phantom", images=6, size=64, dicom=True)  # with KITTI labels and a JSON file beside
    assert detect_format(tmp_path / "phantom") is None
    assert detect_format(tiny) is None


def test_what_is_not_there_is_in_no_format(tmp_path):
    assert detect_format(tmp_path / "nothing") is None
    assert detect_format(tmp_path) is None
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert detect_format(loop) is None


def test_names_are_those_of_the_command_line():
    assert {*re.findall(r"\w+", _READ)} - {"or"} == {*FORMATS, "csv"}
    assert {*re.findall(r"\w+", _WRITTEN)} - {"or"} == {name for name, each in FORMATS.items() if each.write} | {
        "csv",
        "png",
        "jpeg",
    }


PARTS = "opacity|0|0.5|1e999|\n|names:|[a]|train: images|{|}|images: [|<annotation>|,|;|\t|Image Index,Finding Label"
words = st.lists(st.sampled_from([*PARTS.split("|"), '"images": [', "patientId,x,y,width,height,Target"])).map(" ".join)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words.map(str.encode) | st.binary(max_size=60))
def test_any_file_gives_a_table_or_one_sentence(tmp_path, draw, name, data):
    if not (tmp_path / "images/a.png").exists():
        draw(tmp_path / "images/a.png")
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)
    try:
        assert len(read_source(tmp_path)) == 1
        message = ""
    except XrayclsError as error:
        message = str(error)
    assert "\n" not in message
