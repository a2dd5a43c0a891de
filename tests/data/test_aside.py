import logging
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from xraycls.data import aside as module
from xraycls.data.aside import set_aside
from xraycls.data.folder import image_files, pictures_below, read_folder
from xraycls.data.pictures import list_images


def film(path: Path, seed: int, side: int = 256) -> Path:
    """A smooth picture with noise, as films are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 256, (6, 6), dtype=np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    noise = rng.normal(0, 6, (side, side))
    cv2.imwrite(str(path), np.clip(coarse + noise, 0, 255).astype(np.uint8))
    return path


def mask(path: Path, seed: int, side: int = 256, levels: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.zeros((side, side), np.uint8)
    for level in range(1, levels):
        centre = (side // 4 + 7 * seed % (side // 2), side * level // levels)
        cv2.ellipse(picture, centre, (side // 8, side // 9), 0, 0, 360, 255 * level // (levels - 1), -1)
    cv2.imwrite(str(path), picture)
    return path


def heat_map(path: Path, source: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.applyColorMap(cv2.imread(str(source), cv2.IMREAD_GRAYSCALE), cv2.COLORMAP_JET))
    return path


@pytest.fixture
def films(tmp_path) -> list[Path]:
    return [film(tmp_path / name / "images" / f"{n}.png", n + 10 * (name == "B")) for name in "AB" for n in range(6)]


def aside(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): kind for path, kind in set_aside(list(image_files(root)), root).items()}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("A/masks/0.png", "mask"),
        ("A/lung masks/0.png", "mask"),
        ("A/Infection_Masks/0.png", "mask"),
        ("A/LungMask/0.png", "mask"),
        ("A/ManualMask/leftMask/0.png", "mask"),
        ("A/lungmasks/0.png", "mask"),
        ("A/masks_png/0.png", "mask"),
        ("A/Segmentation/0.png", "mask"),
        ("A/ground truth/0.png", "mask"),
        ("A/images/0_mask.png", "mask"),
        ("A/images/CHNCXR_0001_0-mask.png", "mask"),
        ("A/images/mask_sub-S09870.png", "mask"),
        ("A/images/0_lungMask.png", "mask"),
        ("A/images/0_seg.png", "mask"),
        ("A/thumbs/0.png", "thumbnail"),
        ("A/Previews/0.png", "thumbnail"),
        ("A/images/0_thumb.png", "thumbnail"),
        ("A/heat maps/0.png", "heat map"),
        ("A/GradCAM/0.png", "heat map"),
        ("A/grad_cam/0.png", "heat map"),
        ("A/overlays/0.png", "heat map"),
        ("A/images/CAM_ResNet18_0.png", "heat map"),
        ("A/images/0_heatmap.png", "heat map"),
    ],
)
def test_a_name_tells(films, tmp_path, name, kind):
    film(tmp_path / name, 99)
    assert aside(tmp_path) == {name: kind}


@pytest.mark.parametrize(
    "name",
    [
        "A/images/unmasked.png",
        "A/images/amask3dpatient.png",
        "A/images/camera.png",
        "A/campus/0.png",
        "A/images/webcam-7.png",
        "A/Opacity/0.png",
        "A/left lung/0.png",
        "A/images/segmental-atelectasis.png",
        "A/images/IM-0001-0001.png",
        "A/iconic/7.png",
        "A/images/Icon Medical 0001.png",
        "A/masks of nothing here/0.png",
    ],
)
def test_a_name_that_only_resembles_one_tells_nothing(films, tmp_path, name):
    film(tmp_path / name, 99)
    assert aside(tmp_path) == {}


def test_names_above_the_root_tell_nothing(tmp_path):
    film(tmp_path / "masks/A/0.png", 1)
    assert set_aside([tmp_path / "masks/A/0.png"], tmp_path / "masks") == {}


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg"])
def test_two_grey_values_are_a_mask_whatever_it_is_called(films, tmp_path, suffix):
    for n in range(3):
        mask(tmp_path / "A/roi" / f"region{n}{suffix}", n)
    assert aside(tmp_path) == {f"A/roi/region{n}{suffix}": "mask" for n in range(3)}


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("quality", [10, 50, 95])
def test_a_lossy_picture_of_few_bytes_is_a_mask_by_its_levels(films, tmp_path, quality, progressive):
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
    for n in range(4):
        kind = tmp_path / "A" / ("roi" if n % 2 else "others")
        source = (mask if n % 2 else film)(tmp_path / "source.png", n)
        grey = cv2.imread(str(source), cv2.IMREAD_GRAYSCALE)
        if n == 3:
            grey = cv2.cvtColor(grey[::-1], cv2.COLOR_GRAY2BGR)
            grey = 100 + grey // 2 if quality == 95 else grey
        kind.mkdir(exist_ok=True)
        cv2.imwrite(str(kind / f"picture{n}.jpg"), grey, options)
        source.unlink()
    assert aside(tmp_path) == {f"A/roi/picture{n}.jpg": "mask" for n in (1, 3)}


@pytest.mark.parametrize("interval", [0, 8])
@pytest.mark.parametrize("side", [96, 300, 768, 2000])
def test_no_part_of_a_label_map_looks_like_a_film(tmp_path, side, interval):
    picture = np.zeros((side, side), np.uint8)
    for rib in range(10):
        centre, axes = (side // 2, side * (15 + 7 * rib) // 100), (side // 3, side // 17)
        cv2.ellipse(picture, centre, axes, 0, 180, 360, 255, max(side // 50, 1))
    for quality in (50, 75, 95, 100):
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_RST_INTERVAL, interval]
        cv2.imwrite(str(tmp_path / "ribs.jpg"), picture, options)
        assert not module._is_surely_film(tmp_path / "ribs.jpg")


def test_a_part_of_a_film_with_black_frames_is_enough(tmp_path):
    picture = cv2.imread(str(film(tmp_path / "film.png", 0, side=600)), cv2.IMREAD_GRAYSCALE)
    framed = cv2.copyMakeBorder(picture, 0, 0, 150, 150, cv2.BORDER_CONSTANT)
    cv2.imwrite(str(tmp_path / "framed.jpg"), framed, [cv2.IMWRITE_JPEG_QUALITY, 75])
    content = np.fromfile(tmp_path / "framed.jpg", np.uint8)
    assert not module._hardly_repeats(content)
    assert module._is_surely_film(tmp_path / "framed.jpg")
    content[: len(content) // 10].tofile(tmp_path / "cut.jpg")
    assert not module._is_surely_film(tmp_path / "cut.jpg")


def test_a_label_map_beside_its_film_is_a_mask(films, tmp_path):
    for n in range(6):
        mask(tmp_path / "A/lobes" / f"{n}.png", n, levels=6)
        mask(tmp_path / "B/lobes" / f"{n}.png", n, levels=6)
    assert set(aside(tmp_path).values()) == {"mask"}
    assert len(aside(tmp_path)) == 12


def test_a_small_copy_of_a_film_is_a_thumbnail(films, tmp_path):
    for source in films[:3]:
        picture = cv2.imread(str(source), cv2.IMREAD_GRAYSCALE)
        (tmp_path / "A/small").mkdir(exist_ok=True)
        cv2.imwrite(
            str(tmp_path / "A/small" / source.name), cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA)
        )
    cv2.imwrite(str(tmp_path / "A/images/0-150x150.png"), cv2.resize(cv2.imread(str(films[0]), 0), (120, 120)))
    found = aside(tmp_path)
    assert found == {"A/small/0.png": "thumbnail", "A/small/1.png": "thumbnail", "A/small/2.png": "thumbnail"} | {
        "A/images/0-150x150.png": "thumbnail"
    }


def test_a_tiny_picture_among_large_ones_is_a_thumbnail(films, tmp_path):
    film(tmp_path / "A/other/9.png", 9, side=48)
    assert aside(tmp_path) == {"A/other/9.png": "thumbnail"}


def test_a_coloured_map_beside_its_film_is_a_heat_map(films, tmp_path):
    heat_map(tmp_path / "A/results/0.png", films[0])
    assert aside(tmp_path) == {"A/results/0.png": "heat map"}


def test_films_of_two_classes_may_share_a_name_and_differ_in_size(tmp_path):
    for n in range(4):
        film(tmp_path / "A" / f"{n}.png", n, side=256)
        film(tmp_path / "B" / f"{n}.png", n, side=100)
    assert len(read_folder(tmp_path)) == 8


def test_small_films_of_the_same_view_name_are_no_thumbnails(tmp_path):
    for patient in range(4):
        film(tmp_path / f"A/p{patient}/study1/view1.png", patient, side=400)
        film(tmp_path / f"A/p{patient}/study2/view1.png", patient + 50, side=150)
    assert aside(tmp_path) == {}


def test_a_set_of_pictures_with_two_values_is_kept(tmp_path):
    for n in range(4):
        mask(tmp_path / "A" / f"{n}.png", n)
        mask(tmp_path / "B" / f"{n}.png", n + 3)
    assert len(read_folder(tmp_path)) == 8


def test_the_count_is_told_and_a_switch_keeps_them(films, tmp_path, caplog):
    for n in range(6):
        mask(tmp_path / "A/masks" / f"{n}.png", n)
    with caplog.at_level(logging.WARNING):
        assert read_folder(tmp_path).counts() == {"A": 6, "B": 6}
    assert "6 of 18 pictures" in caplog.text
    assert "6 masks (A/masks/0.png, …)" in caplog.text
    assert read_folder(tmp_path, keep_masks=True).counts() == {"A": 12, "B": 6}
    assert len(pictures_below(tmp_path)) == 12
    assert len(pictures_below(tmp_path, keep_masks=True)) == 18


@pytest.mark.parametrize(
    ("case", "counts"), [("c02-masks-beside-images/data", 12), ("c10-thumbnail-folders/synology", 8)]
)
def test_sets_of_users(shared, case, counts):
    assert set(read_folder(shared / "field_cases" / case).counts().values()) == {counts}


@pytest.mark.exhaustive
def test_real_films_are_never_set_aside(shared, tmp_path):
    for folder in ("kermany_224", "kermany_native"):
        root = shared / "data" / folder
        files = list(image_files(root))[:1500]
        assert set_aside(files, root) == {}
    films = [shutil.copy(path, tmp_path) for path in sorted((shared / "data/kermany_native").rglob("*.jpeg"))[:4]]
    assert set_aside([Path(film) for film in films], tmp_path) == {}


def test_masks_beside_radiographs_are_listed_on_demand_alone(tmp_path):
    for number in range(4):
        film(tmp_path / "images" / f"{number}.png", number)
        mask(tmp_path / "masks" / f"{number}.png", number)
    assert {sample.path.parent.name for sample in list_images([tmp_path])} == {"images"}
    assert len(list_images([tmp_path], keep_masks=True)) == 8
