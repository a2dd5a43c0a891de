from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

from xraycls.data.facts import picture_facts
from xraycls.data.folder import image_files
from xraycls.data.phantom import draw_radiograph
from xraycls.data.quality import CHEST, all_reasons, draw_chest, pose_of, quality_reasons
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Sample


@pytest.fixture(scope="module")
def film():
    """A drawn radiograph that the template doesn't know."""
    return draw_radiograph(5, 1, 1, pneumonia=True, size=256).grey(8)


def facts_in(path):
    return picture_facts(SampleTable((Sample(path),), (), path.parent, "files"))[0]


def facts_of(picture, tmp_path, name="picture.png"):
    cv2.imwrite(str(tmp_path / name), picture)
    return facts_in(tmp_path / name)


FAULTS = {
    "black": (lambda film: np.zeros_like(film), ("blank",)),
    "white": (lambda film: np.full_like(film, 255), ("blank",)),
    "flat grey": (lambda film: np.full_like(film, 90), ("blank",)),
    "grey noise": (lambda film: np.random.default_rng(0).integers(85, 95, film.shape, np.uint8), ("blank",)),
    "underexposed": (lambda film: (film * 0.15).astype(np.uint8), ("too dark",)),
    "overexposed": (lambda film: 255 - ((255 - film) * 0.12).astype(np.uint8), ("too bright",)),
    "thumbnail": (lambda film: cv2.resize(film, (48, 40), interpolation=cv2.INTER_AREA), ("tiny",)),
    "quarter turn": (lambda film: np.rot90(film), ("rotated",)),
    "three quarters": (lambda film: np.rot90(film, 3), ("rotated",)),
    "half turn": (lambda film: np.rot90(film, 2), ("rotated",)),
    "negative": (lambda film: 255 - film, ("inverted",)),
    "tiny and black": (lambda film: np.zeros((20, 20), np.uint8), ("tiny", "blank")),
    "small and turned": (lambda film: np.rot90(cv2.resize(film, (90, 80))), ("tiny", "rotated")),
    "tinted": (lambda film: np.stack([film, film, 255 - film], axis=2), ("colour",)),
}
FINE = {
    "as it is": lambda film: film,
    "mirrored": lambda film: film[:, ::-1],
    "faint": lambda film: (film * 0.5).astype(np.uint8),
    "grey stored as colour": lambda film: np.stack([film] * 3, axis=2),
    "with a coloured arrow": lambda film: cv2.arrowedLine(
        np.stack([film] * 3, axis=2), (20, 20), (90, 90), (0, 0, 255), 3
    ),
    "16 bits": lambda film: film.astype(np.uint16) * 257,
    "tilted": lambda film: cv2.warpAffine(
        film, cv2.getRotationMatrix2D((film.shape[1] / 2, film.shape[0] / 2), 15, 1), film.shape[::-1]
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_reason(fault, film, tmp_path):
    spoil, reasons = FAULTS[fault]
    assert quality_reasons(facts_of(spoil(film), tmp_path)) == reasons


@pytest.mark.parametrize("change", FINE)
def test_what_is_fine_has_none(change, film, tmp_path):
    assert quality_reasons(facts_of(FINE[change](film), tmp_path)) == ()


def test_the_second_of_two_equal_files_is_a_duplicate(film, tmp_path):
    pictures = [facts_of(film, tmp_path, name) for name in ("a.png", "b.png", "c.png")]
    other = facts_of(film // 2, tmp_path, "other.png")
    damaged = DataError("damaged", tmp_path)
    found = all_reasons([pictures[0], other, damaged, *pictures[1:]])
    assert found == [(), (), ("unreadable",), ("duplicate",), ("duplicate",)]


@pytest.mark.parametrize("seed", range(3))
def test_drawn_films_stand_upright_and_their_turns_do_not(seed):
    for patient in range(1, 9):
        drawn = draw_radiograph(10 + seed, patient, 1, pneumonia=patient % 2 == 0, size=96).grey(8)
        turns = [pose_of(np.rot90(drawn, turn).copy()) for turn in range(4)]
        assert turns == ["upright", "quarter turn", "half turn", "quarter turn"]
        assert pose_of(255 - drawn) == "inverted"


def test_what_is_no_chest_is_hardly_ever_said_to_be_turned():
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (16, 16), np.uint8) for _ in range(200)]
    assert sum(pose_of(picture) != "upright" for picture in pictures) <= 2
    assert pose_of(np.zeros((64, 64), np.uint8)) == "upright"


@pytest.fixture(scope="module")
def real_facts(shared):
    """Facts of the real films of a folder; of the largest, of every fourth."""

    @cache
    def read(folder):
        files = list(image_files(shared / "data" / folder))
        files = files[::4] if len(files) > 1000 else files
        return picture_facts(SampleTable(tuple(map(Sample, files)), (), shared, "files"))

    return read


@pytest.mark.exhaustive
@pytest.mark.parametrize("folder", ["kermany_224", "kermany_native", "nih_rsna_bbox/images", "dicom/udacity_nih"])
def test_hardly_a_real_film_is_rejected(folder, real_facts):
    """Of all 5,856 in kermany_224 two: infants whose bellies are full of gas."""
    facts = real_facts(folder)
    reasons = [found for found in map(quality_reasons, facts) if found]
    assert set(reasons) <= {("rotated",)}
    assert len(reasons) <= len(facts) / 1000


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("folder", "turn", "share"),
    [("kermany_224", 1, 0.999), ("kermany_224", 2, 0.92), ("kermany_224", 3, 0.999), ("nih_rsna_bbox/images", 1, 0.95)],
)
def test_turned_real_films_are_found(folder, turn, share, real_facts):
    turned = [replace(each, thumbnail=np.rot90(each.thumbnail, turn).copy()) for each in real_facts(folder)]
    assert np.mean(["rotated" in quality_reasons(each) for each in turned]) >= share


def test_a_dicom_with_the_wrong_photometric_interpretation_is_inverted(shared):
    fake = shared / "data/dicom/rsna/16d7f894_FAKE_MONOCHROME1.dcm"
    assert quality_reasons(facts_in(fake)) == ("inverted",)


def test_photographs_are_no_films(shared):
    for name in ("chelsea.png", "coffee.png"):
        assert "colour" in quality_reasons(facts_in(shared / "weights/check_images" / name))


def test_the_chest_that_films_are_compared_with_is_what_the_phantom_draws():
    np.testing.assert_allclose(np.load(CHEST), draw_chest(), atol=1e-4)
