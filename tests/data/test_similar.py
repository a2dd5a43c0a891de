import itertools

import cv2
import numpy as np
import pytest

from xraycls.data import similar
from xraycls.data.facts import SIDE, picture_facts
from xraycls.data.open import read_grey
from xraycls.data.phantom import write_phantom
from xraycls.data.similar import ALIKE, near_duplicates
from xraycls.data.source import read_source


def thumbnail(picture):
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def cropped(picture, kept, across, down):
    height, width = picture.shape
    h, w = round(height * kept), round(width * kept)
    top, left = round((height - h) * down), round((width - w) * across)
    return picture[top : top + h, left : left + w]


def encoded(picture, quality):
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


VARIANTS = {
    "encoded again": lambda p: encoded(p, 30),
    "224 pixels": lambda p: encoded(cv2.resize(p, (224, 224)), 75),
    "the middle 95 %": lambda p: cropped(p, 0.95, 0.5, 0.5),
    "a corner of 95 %": lambda p: cropped(p, 0.95, 0.0, 1.0),
    "brighter": lambda p: cv2.add(p, 30),
    "darker": lambda p: cv2.subtract(p, 30),
    "less contrast": lambda p: cv2.convertScaleAbs(p, alpha=0.7, beta=20),
    "gamma": lambda p: (255 * (p / 255.0) ** 0.7).astype(np.uint8),
    "all at once": lambda p: encoded(cv2.resize(cv2.add(cropped(p, 0.96, 1.0, 0.3), 20), (224, 224)), 50),
}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """60 drawn films of about 30 patients."""
    table = write_phantom(tmp_path_factory.mktemp("films"), images=60, size=256, threads=1)
    return [read_grey(sample.path) for sample in table]


@pytest.mark.parametrize("variant", VARIANTS)
def test_copies_are_found_and_nothing_else(films, variant):
    copies = [VARIANTS[variant](film) for film in films[::6]]
    found = near_duplicates([thumbnail(film) for film in [*films, *copies]])
    assert {(each.first, each.second) for each in found} == {(6 * n, len(films) + n) for n in range(10)}
    assert all(ALIKE <= each.alike <= 1.0001 for each in found)


def test_different_films_of_one_patient_are_no_copies(films):
    assert near_duplicates([thumbnail(film) for film in films]) == []


def test_the_search_against_every_pair(films):
    some = np.stack([thumbnail(film) for film in [*films[:20], VARIANTS["a corner of 95 %"](films[3]), films[5]]])
    pairs = list(itertools.combinations(range(len(some)), 2))
    ways = [(similar._agreement(some[i], some[j]), similar._agreement(some[j], some[i])) for i, j in pairs]
    expected = [pair for pair, way in zip(pairs, ways, strict=True) if max(way) >= ALIKE]
    found = near_duplicates(list(some), threads=2)
    assert sorted((each.first, each.second) for each in found) == expected == [(3, 20), (5, 21)]
    assert [each.alike for each in found] == sorted((each.alike for each in found), reverse=True)


def test_a_crop_is_found_before_and_behind_its_source(films):
    crops = [thumbnail(cropped(film, 0.94, 0.2, 0.9)) for film in films[:5]]
    sources = [thumbnail(film) for film in films[:5]]
    ahead, behind = near_duplicates([*crops, *sources]), near_duplicates([*sources, *crops])
    assert {(each.first, each.second) for each in ahead} == {(n, 5 + n) for n in range(5)}
    assert {each.alike for each in ahead} == {each.alike for each in behind}


def test_correlation_against_numpy():
    one, other = np.random.default_rng(0).normal(3, 2, (2, 500)).astype(np.float32)
    assert similar._correlation(one, one + other) == pytest.approx(np.corrcoef(one, one + other)[0, 1], abs=1e-6)
    assert similar._correlation(one, np.ones_like(one)) == 0


def test_nothing_to_compare(films):
    assert near_duplicates([]) == []
    assert near_duplicates([thumbnail(films[0])]) == []
    blank = np.full((SIDE, SIDE), 128, np.uint8)
    assert near_duplicates([blank, blank + 1, thumbnail(films[0])]) == []


@pytest.mark.exhaustive
def test_the_real_originals_among_their_small_copies(shared):
    """The 224-pixel copies keep the names of their originals; others of that set are not to be taken for copies."""
    native = read_source(shared / "data/kermany_native")
    small = read_source(shared / "data/kermany_224")
    names = {sample.path.name for sample in native}
    others = [sample for sample in small if sample.path.name not in names][::12]
    chosen = [sample for sample in small if sample.path.name in names] + others
    thumbnails = [facts.thumbnail for facts in picture_facts(native.with_samples([*native, *chosen]))]
    found = [each for each in near_duplicates(thumbnails) if each.first < len(native)]
    pairs = {(native[each.first].path.name, chosen[each.second - len(native)].path.name) for each in found}
    assert pairs == {(name, name) for name in names}


def test_among_many_films_copies_are_found_without_comparing_all_pairs(films, monkeypatch):
    copies = [VARIANTS["all at once"](film) for film in films[::6]]
    thumbnails = [thumbnail(film) for film in [*films, *copies]]
    every = near_duplicates(thumbnails)
    monkeypatch.setattr(similar, "_EXHAUSTIVE", 24)
    monkeypatch.setattr(similar, "_SHARE", 6)
    lines = np.zeros((6 * len(thumbnails), 2), np.float32)
    lines[:, 0] = 1  # all alike: cut into parts of any pictures, instead of being divided for ever
    cells = list(similar._cells(lines, len(thumbnails), np.arange(len(lines))))
    assert max(np.count_nonzero(cell < len(thumbnails)) for cell in cells) <= 24
    assert set(np.concatenate(cells)) == set(range(len(lines)))
    found = set(near_duplicates(thumbnails))  # six films a cell are few: one of the hardest copies may be missed
    assert found <= set(every)
    assert len(found) >= 0.9 * len(every) == 9


def _directions(count: int) -> np.ndarray:
    """Vectors of length 1 about twenty others, [count, 256]."""
    random = np.random.default_rng(0)
    about = random.standard_normal((20, 256))[random.integers(0, 20, count)]
    vectors = (about + 1.2 * random.standard_normal((count, 256))).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize(("groups", "least"), [(1000, 1.0), (similar._GROUPS, 0.7)])
def test_the_nearest_centres_are_found_among_a_few_groups_of_them(monkeypatch, groups, least):
    monkeypatch.setattr(similar, "_GROUPS", groups)
    monkeypatch.setattr(similar, "_LONG_BLOCK", 100)
    lines, chosen = _directions(1500), np.arange(0, 1500, 2)
    centres = lines[:120]
    found = np.sort(similar._two_nearest(lines, chosen, centres))
    exact = np.sort(np.argsort(-(lines[chosen] @ centres.T))[:, :2])
    assert (found == exact).mean() >= least
    assert (found[:, 0] != found[:, 1]).all()


def test_a_cell_of_crops_alone_holds_no_pair():
    lines = _directions(12)
    assert list(similar._nearest(lines, 2, np.array([3, 5, 8]))) == []
    ((rows, others, alike),) = similar._nearest(np.repeat(lines[:1], 12, axis=0), 2, np.array([0, 3]))
    assert (rows.tolist(), others.tolist(), alike.tolist()) == ([1], [0], [pytest.approx(1)])  # not itself


def test_one_centre_is_nearest_to_everything():
    assert (similar._two_nearest(_directions(5), np.arange(5), _directions(1)) == 0).all()
