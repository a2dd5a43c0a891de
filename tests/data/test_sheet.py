import numpy as np
import pytest
from PIL import Image

from xraycls.data.lettering import write_picture
from xraycls.data.sheet import Tile, contact_sheet
from xraycls.errors import UsageError
from xraycls.types import Box

SIDE, GAP = 120, 14
AMBER, BLUE = (255, 176, 0), (86, 200, 255)


def grey(height=60, width=100, level=128):
    return np.full((height, width), level, np.uint8)


def tile_at(sheet, row, column, lines=1, head=0):
    """The square of one tile."""
    below = lines * 17 + 7 if lines else 0
    top, left = head + GAP + row * (SIDE + below + GAP), GAP + column * (SIDE + GAP)
    return sheet[top : top + SIDE, left : left + SIDE]


def bounds(mask):
    """Left, top, right and bottom (exclusive) of what is true."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def test_pictures_keep_their_proportions_in_rows_of_squares():
    tiles = [Tile(grey(60, 100), "wide"), Tile(grey(100, 50), "high"), Tile(grey(20, 20), "small, enlarged")]
    sheet = contact_sheet(tiles, columns=2, side=SIDE)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (GAP + 2 * (SIDE + 24 + GAP), GAP + 2 * (SIDE + GAP), 3)
    places = [(0, 24, 120, 96), (30, 0, 90, 120), (0, 0, 120, 120)]
    for number, place in enumerate(places):
        assert bounds((tile_at(sheet, *divmod(number, 2)) == 128).all(axis=2)) == place
    assert (tile_at(sheet, 1, 1) == 24).all()  # nothing there


def test_the_title_and_captions_are_written_in_light_letters_and_nowhere_else():
    with_text = contact_sheet([Tile(grey(), "caption\nsecond line")], side=SIDE, title="title")
    without = contact_sheet([Tile(grey(), "")], side=SIDE)
    assert with_text.shape == (without.shape[0] + 44 + 2 * 17 + 7, without.shape[1], 3)
    assert (tile_at(with_text, 0, 0, head=44) == tile_at(without, 0, 0)).all()
    assert with_text[:44].max() > 200
    assert with_text[44 + GAP + SIDE :].max() > 200
    assert len(np.unique(with_text[:44])) > 20  # antialiased
    assert without.max() == 128


def test_a_long_caption_loses_its_middle_and_stays_within_its_tile():
    tiles = [Tile(grey(), "train/NORMAL/" + "a" * 300 + "/the end.jpeg"), Tile(grey(), "")]
    sheet = contact_sheet(tiles, columns=2, side=SIDE)
    written = bounds(sheet[GAP + SIDE :, :].max(axis=2) > 100)
    assert GAP <= written[0] < GAP + 4
    assert GAP + SIDE - 12 < written[2] <= GAP + SIDE
    # It begins and ends as it does alone.
    line = sheet[GAP + SIDE :, GAP : GAP + SIDE]
    alone = contact_sheet([Tile(grey(), "train")], side=SIDE)[GAP + SIDE :, GAP : GAP + SIDE]
    width = bounds(alone.max(axis=2) > 100)[2]
    assert (alone[:, :width] == line[:, :width]).all()


def test_a_caption_that_is_no_text_is_shown_all_the_same():
    sheet = contact_sheet([Tile(grey(), "b\udcffse → 胸部 é")], side=SIDE)
    assert sheet[GAP + SIDE :].max() > 200


def test_boxes_lie_where_they_are_in_the_source():
    # A source of 1000 × 500 pixels, stored at a tenth of that: on the tile, 0.12 pixels a pixel.
    box = Box("mass", 250, 125, 750, 375)
    sheet = contact_sheet([Tile(grey(50, 100), "", (box,), (1000, 500))], side=SIDE)
    frame = (tile_at(sheet, 0, 0, lines=0) == AMBER).all(axis=2)
    assert bounds(frame[45:]) == (30, 0, 90, 30)  # from below its name on: 30 pixels of margin, and 375 × 0.12
    assert frame[74, 30:90].all()
    assert frame[45:75, 30].all()
    assert frame[45:75, 89].all()
    assert not frame[50:70, 34:86].any()  # what it surrounds is still to be seen


def test_a_squashed_picture_gets_its_proportions_back():
    """As prepared stores hold them: square pictures of oblong sources, boxes in pixels of the source."""
    squashed = grey(64, 64)
    squashed[:, 32:] = 255
    sheet = contact_sheet([Tile(squashed, "", (), (2000, 1000))], side=SIDE)
    shown = tile_at(sheet, 0, 0, lines=0)
    assert bounds((shown >= 128).all(axis=2)) == (0, 30, 120, 90)
    assert bounds((shown == 255).all(axis=2)) == (60, 30, 120, 90)


def test_each_class_of_boxes_has_a_colour_of_its_own_on_the_whole_sheet():
    one, other = Box("a", 10, 20, 40, 40), Box("b", 60, 20, 90, 40, score=0.87)
    sheet = contact_sheet([Tile(grey(), "", (other,)), Tile(grey(), "", (one, other))], side=SIDE)
    first, second = (tile_at(sheet, 0, column, lines=0) for column in (0, 1))
    has = [[(tile == colour).all(axis=2).any() for colour in (AMBER, BLUE)] for tile in (first, second)]
    assert has == [[False, True], [True, True]]


@pytest.mark.parametrize(
    "box",
    [Box("x", 5, 5, 5, 5), Box("x", -50, -50, 500, 500), Box("x", 40, 30, 10, 5), Box("x" * 200, 0, 0, 9, 9, 0.5)],
)
def test_odd_boxes_never_leave_the_tile(box):
    picture = contact_sheet([Tile(grey(), "", (box,)), Tile(grey(), "")], columns=2, side=SIDE)
    plain = contact_sheet([Tile(grey(), ""), Tile(grey(), "")], columns=2, side=SIDE)
    picture[GAP : GAP + SIDE, GAP : GAP + SIDE] = plain[GAP : GAP + SIDE, GAP : GAP + SIDE]
    assert (picture == plain).all()


def test_colour_pictures_and_grey_ones_share_a_sheet():
    red = np.zeros((10, 10, 3), np.uint8)
    red[..., 0] = 200
    sheet = contact_sheet([Tile(red, ""), Tile(grey(10, 10), "")], side=SIDE)
    assert (tile_at(sheet, 0, 0, lines=0) == (200, 0, 0)).all()
    assert (tile_at(sheet, 0, 1, lines=0) == 128).all()


def test_an_empty_sheet_is_only_its_title():
    assert contact_sheet([], side=SIDE, title="nothing").shape == (44 + GAP, GAP + SIDE + GAP, 3)


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".jpeg"])
def test_pictures_are_written_by_their_suffix(suffix, tmp_path):
    sheet = contact_sheet([Tile(grey(), "a name")], side=SIDE)
    write_picture(sheet, tmp_path / "new" / f"sheet{suffix}")
    with Image.open(tmp_path / "new" / f"sheet{suffix}") as read:
        assert read.format == ("PNG" if suffix == ".png" else "JPEG")
        assert np.abs(np.asarray(read).astype(int) - sheet).mean() < 2
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_another_suffix_is_refused_by_name(tmp_path):
    for suffix in (".doc", ".psd", ".fits"):  # Pillow reads the latter two
        with pytest.raises(UsageError, match=rf"can't be written as \{suffix}"):
            write_picture(grey(), tmp_path / f"sheet{suffix}")


def test_names_of_boxes_make_room_for_each_other():
    boxes = (Box("a", 20, 30, 60, 60), Box("b", 22, 30, 60, 60))
    sheet = contact_sheet([Tile(grey(100, 100), "", boxes)], side=SIDE)
    alone = contact_sheet([Tile(grey(100, 100), "", boxes[:1])], side=SIDE)
    above = slice(GAP + 36 - 16, GAP + 36)
    assert (sheet[above] == alone[above]).all()  # the name of the first is whole
    below = sheet[GAP + 72 : GAP + 72 + 16]
    assert (below == BLUE).all(axis=2).sum() > 100  # and that of the second is elsewhere
