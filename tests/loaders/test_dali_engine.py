"""What only the DALI engine has: a graph that may refuse a batch, run out of memory or not start at all."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.loaders.engines import CPU, DALI_DEVICES, needs_dali
from xraycls.data.folder import read_folder
from xraycls.data.open import open_image
from xraycls.data.table import SampleTable
from xraycls.errors import MissingExtra, UsageError
from xraycls.loaders import dali_engine
from xraycls.loaders.dali_engine import DaliLoader
from xraycls.loaders.dali_feed import feed_of
from xraycls.loaders.dali_graph import DaliGraph, GraphFailure, _failure
from xraycls.loaders.recipes.classification import find_recipe
from xraycls.loaders.sampler import Sampler
from xraycls.loaders.torch_engine import TorchLoader
from xraycls.loaders.views import Canvas
from xraycls.types import Sample

RECIPE = find_recipe("radiograph", 32)


@pytest.fixture(scope="module")
def table(tiny):
    return read_folder(tiny).split("train")


def load(table, batch_size=5, training=True, device=CPU, recipe=RECIPE, **options):
    sampler = Sampler(table.labels, batch_size, training=training)
    return DaliLoader(table, recipe, sampler, device=device, **options)


class Unreliable(DaliGraph):
    """A graph that fails at certain batches, counted over all graphs."""

    failing: dict[int, bool] = {}  # noqa: RUF012
    runs = 0
    prefetches: list[int] = []  # noqa: RUF012

    def __init__(self, *arguments, prefetch, **options):
        Unreliable.prefetches.append(prefetch)
        super().__init__(*arguments, prefetch=prefetch, **options)

    def run(self):
        Unreliable.runs += 1
        number, drawn = Unreliable.runs, super().run()
        if number in self.failing:
            raise GraphFailure("no such kernel", out_of_memory=self.failing[number])
        return drawn


@pytest.fixture
def unreliable(monkeypatch):
    monkeypatch.setattr(dali_engine, "DaliGraph", Unreliable)
    monkeypatch.setattr(Unreliable, "runs", 0)
    monkeypatch.setattr(Unreliable, "prefetches", [])

    def failing(**at):
        monkeypatch.setattr(Unreliable, "failing", at["at"])

    return failing


@needs_dali
@pytest.mark.parametrize("at", [{1: False}, {3: False}, {5: False}, {1: False, 2: False, 4: False}])
def test_a_refused_batch_is_drawn_without_dali_and_nothing_is_lost(table, unreliable, at):
    expected = list(TorchLoader(table, RECIPE, Sampler(table.labels, 5, training=True)))
    unreliable(at=at)
    loader = load(table)
    for _ in range(2):
        found = list(loader)
        assert len(found) == 5
        assert [b.indices.tolist() for b in found] == [b.indices.tolist() for b in expected]
        for a, b in zip(found, expected, strict=True):
            assert (a.images.float() - b.images.float()).abs().mean() < 1
    assert not loader.failures


class Picky(DaliGraph):
    """A graph that refuses batches with one certain file in them, as long as it comes encoded."""

    culprit = b""

    def __init__(self, source, **options):
        self.fed = []

        def watched():
            fields = source()
            self.fed.append(any(e and d.tobytes() == self.culprit for d, e in zip(fields[0], fields[1], strict=True)))
            return fields

        super().__init__(watched, **options)

    def run(self):
        drawn = super().run()
        if drawn is not None and self.fed.pop(0):
            raise GraphFailure("nvImageCodec failure", out_of_memory=False)
        return drawn


@needs_dali
@pytest.mark.parametrize("training", [True, False])
def test_only_the_file_that_dali_refuses_is_decoded_here(table, monkeypatch, training):
    expected = list(load(table, training=training))
    monkeypatch.setattr(Picky, "culprit", table[7].path.read_bytes())
    monkeypatch.setattr(dali_engine, "DaliGraph", Picky)
    loader = load(table, training=training)
    for _ in range(2):
        for a, b in zip(loader, expected, strict=True):
            assert torch.equal(a.indices, b.indices)
            assert torch.equal(a.weights, b.weights)
            for index, picture, other in zip(a.indices.tolist(), a.images, b.images, strict=True):
                if index == 7:
                    assert (picture.float() - other.float()).abs().mean() < 1.5
                else:
                    assert torch.equal(picture, other)
        assert loader._refused == {7}
    assert not loader.failures


@needs_dali
def test_a_dali_that_refuses_everything_is_told(table, monkeypatch, caplog):
    class Broken(DaliGraph):
        def run(self):
            drawn = super().run()
            if drawn is not None:
                raise GraphFailure("no kernel image", out_of_memory=False)
            return drawn

    expected = list(TorchLoader(table, RECIPE, Sampler(table.labels, 12, training=True)))
    monkeypatch.setattr(dali_engine, "DaliGraph", Broken)
    found = list(load(table, batch_size=12))
    assert "DALI refuses every picture of a batch, so OpenCV draws it: no kernel image" in caplog.text
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.images, b.images)


@needs_dali
def test_out_of_memory_lowers_the_prefetch_once_and_says_so(table, unreliable, caplog):
    unreliable(at={2: True})
    loader = load(table)
    assert len(list(loader)) == 5
    assert Unreliable.prefetches == [2, 1]
    assert "keeps one batch in work instead of 2" in caplog.text
    unreliable(at={8: True})
    with pytest.raises(MemoryError, match="out of memory"):
        list(loader)


@pytest.mark.parametrize(
    ("text", "exhausted"),
    [
        ("Critical error in pipeline:\nError in MIXED operator\nencountered:\n\nCUDA allocation failed", True),
        ("Critical error\nCan't allocate 123456 bytes on device 0.", True),
        ("CUDA runtime API error cudaErrorMemoryAllocation (2):\nout of memory", True),
        ("cudaErrorMemoryAllocation (2)", True),
        ("std::bad_alloc", True),
        ("nvImageCodec failure: '#4'", False),
    ],
)
def test_out_of_memory_is_told_from_other_failures(text, exhausted):
    assert _failure(RuntimeError(text)).out_of_memory == exhausted


@needs_dali
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA driver")
def test_a_gpu_that_dali_cannot_use_is_one_sentence(table):
    with pytest.raises(UsageError, match=r"DALI can't use cuda:0: .*CUDA.*nvidia-dali-cuda120") as caught:
        DaliLoader(table, RECIPE, Sampler(table.labels, 5, training=True), device=torch.device("cuda", 0))
    assert "\n" not in str(caught.value)


def test_without_the_package_the_command_that_installs_it_is_named(table, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    with pytest.raises(MissingExtra, match=r"DALI is not installed\. Install it with: pip install"):
        load(table)


@needs_dali
@pytest.mark.parametrize("draws_here", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_real_radiographs_look_the_same_whoever_decodes_them(shared, training, draws_here):
    table = read_folder(shared / "data" / "kermany_native")
    table = table.with_samples(table[i] for i in range(0, len(table), 5))
    recipe = find_recipe("radiograph", 224)
    sampler = Sampler(table.labels, 8, training=training)
    found = torch.cat([b.images for b in DaliLoader(table, recipe, sampler, device=CPU, draws_here=draws_here)])
    expected = torch.cat([b.images for b in TorchLoader(table, recipe, sampler)])
    difference = (found.float() - expected.float()).abs().mean((1, 2, 3))
    assert difference.mean() < (0.4 if draws_here else 1.0)
    assert difference.max() < (1.0 if draws_here else 2.5)


def test_a_region_holds_every_pixel_that_its_view_touches(tmp_path):
    import cv2

    path = tmp_path / "a.jpeg"
    cv2.imwrite(str(path), np.full((700, 500), 200, np.uint8))
    image = open_image(Sample(path))
    recipe = find_recipe("classic2021", 64)
    for position in range(200):
        view = recipe.training_view(0, 0, position, image.width, image.height)
        feed = feed_of(image, view, Canvas(64, 64))
        assert bool(feed.encoded)
        corners = np.array([[0, 64, 0, 64], [0, 0, 64, 64], [1, 1, 1, 1]])
        inside = np.clip(view.matrix @ corners, 0, [[image.width], [image.height]])
        low = np.array(feed.start[::-1])
        high = low + feed.shape[::-1]
        assert (inside >= low[:, None]).all()
        assert (inside <= high[:, None]).all()
        assert (high <= [image.width, image.height]).all()
        # The matrix leads to the same points, seen from the region and after the shrink.
        zoom = np.array(feed.target[::-1]) / feed.shape[::-1]
        assert np.allclose(feed.matrix @ corners, (view.matrix @ corners - low[:, None]) * zoom[:, None], atol=1e-2)


def dicom(path, pixels, transfer_syntax, frame, photometric="MONOCHROME2"):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = pixels.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = photometric
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path, enforce_file_format=True)


def compressed(pixels, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return buffer.getvalue()


@pytest.fixture
def frames(tmp_path):
    """DICOM files whose frames DALI decodes itself, and a 16-bit PNG."""
    x, y = np.meshgrid(np.arange(150), np.arange(110))
    eight, twelve = np.uint8(20 + (x + y) % 200), np.uint16(100 + x * 20 + y * 3)
    j2k = {"format": "JPEG2000", "no_jp2": True, "irreversible": False}
    jpeg = compressed(eight, format="JPEG", quality=95)
    dicom(tmp_path / "baseline.dcm", eight, "1.2.840.10008.1.2.4.50", jpeg)
    dicom(tmp_path / "inverted.dcm", eight, "1.2.840.10008.1.2.4.50", jpeg, "MONOCHROME1")
    dicom(tmp_path / "j2k8.dcm", eight, "1.2.840.10008.1.2.4.90", compressed(eight, **j2k))
    dicom(tmp_path / "j2k16.dcm", twelve, "1.2.840.10008.1.2.4.90", compressed(twelve, **j2k))
    dicom(tmp_path / "dark.dcm", twelve, "1.2.840.10008.1.2.4.90", compressed(twelve, **j2k), "MONOCHROME1")
    for bits in (8, 10, 12, 14, 16):
        Image.fromarray(np.uint16(twelve * (2**bits - 1.0) / twelve.max())).save(tmp_path / f"deep{bits}.png")
    samples = tuple(Sample(path, label=0) for path in sorted(tmp_path.iterdir()))
    return SampleTable(samples, ("a", "b"), tmp_path, "files")


@pytest.mark.parametrize("device", DALI_DEVICES)
@pytest.mark.parametrize("training", [True, False])
def test_dali_decodes_deep_and_dicom_pixels_itself_and_as_we_do(frames, training, device):
    loader = load(frames, batch_size=10, training=training, device=device)
    decoded_here = {sample.path.name for sample in frames if open_image(sample).encoded is None}
    assert decoded_here == {"inverted.dcm"}  # a full-range film in 8 bits, which DALI would stretch
    (found,) = loader
    (expected,) = TorchLoader(frames, RECIPE, Sampler(frames.labels, 10, training=training))
    difference = (found.images.float().cpu() - expected.images.float()).abs().mean((1, 2, 3))
    assert difference.max() < 1.5, difference
    assert not loader._refused
    assert not loader.failures


@pytest.mark.parametrize("device", DALI_DEVICES)
def test_real_dicoms_are_decoded_by_dali_to_our_pictures(shared, device):
    paths = sorted((shared / "data" / "dicom" / "rsna").glob("*.dcm"))
    table = SampleTable(tuple(Sample(p, label=0) for p in paths), ("a", "b"), shared, "files")
    recipe = find_recipe("radiograph", 224)
    loader = load(table, batch_size=2, training=False, device=device, recipe=recipe)
    (found,) = loader
    (expected,) = TorchLoader(table, recipe, Sampler(table.labels, 2, training=False))
    images = found.images.float().cpu()
    assert (images - expected.images.float()).abs().mean() < 1
    assert (255 - images[0] - images[1]).abs().mean() < 1  # the same film, inverted once
    assert not loader._refused


@needs_dali
def test_a_graph_that_cannot_be_built_is_one_sentence(table, monkeypatch):
    def refuse(*_, **__):
        raise GraphFailure("no CPU backend", out_of_memory=False)

    monkeypatch.setattr(dali_engine, "DaliGraph", refuse)
    with pytest.raises(UsageError, match=r"DALI does not work here: no CPU backend\. Take --loader torch"):
        load(table)


@pytest.mark.parametrize("device", DALI_DEVICES)
def test_pictures_reach_torch_without_a_copy(table, device, monkeypatch):
    pointers = []
    original = torch.utils.dlpack.from_dlpack

    def watched(tensor):
        received = original(tensor)
        pointers.append((tensor.data_ptr(), received.data_ptr()))
        return received

    monkeypatch.setattr(torch.utils.dlpack, "from_dlpack", watched)
    batches = list(load(table, training=False, device=device))
    assert len(pointers) == 5
    for (there, here), batch in zip(pointers, batches, strict=True):
        assert there == here == batch.images.data_ptr()
