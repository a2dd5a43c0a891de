import cv2
import numpy as np
import pytest
from PIL import Image

from xraycls.data.formats.pictures import is_upright, size_of, sizes_of
from xraycls.data.open import open_image
from xraycls.data.phantom import write_phantom
from xraycls.errors import DataError
from xraycls.types import Sample


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_the_head_tells_the_size_that_decoding_gives(tmp_path, suffix, orientation):
    exif = Image.Exif()
    if orientation:
        exif[274] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60), np.uint8)).save(path, exif=exif)
    image = open_image(Sample(path))
    assert size_of(Sample(path)) == (image.width, image.height) == image.decode(1).shape[::-1]
    if is_upright(path):
        with Image.open(path) as theirs:  # which heeds no EXIF
            np.testing.assert_allclose(image.decode(1), np.asarray(theirs), atol=1)


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".webp", ".jp2"])
def test_other_formats(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), np.zeros((40, 60), np.uint8))
    assert size_of(Sample(path)) == (60, 40)
    assert is_upright(path)


def test_dicom_and_what_cannot_be_read(tmp_path):
    write_phantom(tmp_path / "p", images=6, size=64, dicom=True)
    dicom = next((tmp_path / "p/dicom").rglob("*.dcm"))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    size, damaged, missing = sizes_of([Sample(dicom), Sample(tmp_path / "a.png"), Sample(tmp_path / "b.png")])
    image = open_image(Sample(dicom))
    assert size == (image.width, image.height)
    assert isinstance(damaged, DataError)
    assert isinstance(missing, DataError)
