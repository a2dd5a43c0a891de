"""Whatever a caller has of pictures becomes samples."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.dicoms import RAMP, dataset_of
from xraycls.errors import DataError, UsageError
from xraycls.inference.inputs import samples_of
from xraycls.types import Sample

GREY = np.zeros((8, 8), np.uint8)


def test_a_string_is_a_path_and_not_its_letters():
    assert [sample.path for sample in samples_of("/gone/x.jpg")] == [Path("/gone/x.jpg")]


def test_folders_stand_for_their_pictures(tiny):
    folder = tiny / "test" / "NORMAL"
    assert [sample.path for sample in samples_of([str(folder)])] == sorted(folder.iterdir())


def test_pictures_of_all_kinds_keep_their_order(tiny):
    dataset = dataset_of(RAMP)
    folder = tiny / "test" / "NORMAL"
    found = samples_of([b"bytes", folder, GREY, dataset, "x.png", Sample(Path("y"), row=3)])
    names = [b"bytes", *sorted(folder.iterdir()), GREY, dataset, Path("x.png"), Path("y")]
    assert len(found) == len(names)
    for sample, expected in zip(found, names, strict=True):
        assert (sample.path == expected) if isinstance(expected, Path) else (sample.content is expected)
    assert [sample.name for sample in found if sample.content is not None] == ["picture 1", "picture 3", "picture 4"]
    assert found[-1].row == 3


@pytest.mark.parametrize("single", [b"bytes", GREY, dataset_of(RAMP)])
def test_one_picture_in_memory_is_one_picture(single):
    (sample,) = samples_of(single)
    assert sample.content is single


def test_a_generator_is_taken():
    assert len(samples_of(GREY for _ in range(3))) == 3


@pytest.mark.parametrize(
    ("wrong", "kind"), [(3, "int"), (None, "NoneType"), ([3], "int"), ({"a": 1}, "dict"), (torch.zeros(2, 3), "Tensor")]
)
def test_what_is_no_picture_is_refused_by_its_type(wrong, kind):
    with pytest.raises(UsageError, match=f"of the type .*{kind}"):
        samples_of(wrong)


@pytest.mark.parametrize("nothing", [[], ()])
def test_no_picture_at_all_is_an_error(nothing):
    with pytest.raises(DataError, match="no images"):
        samples_of(nothing)
