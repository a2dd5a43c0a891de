"""The images that a spec names: read, mapped and counted, with a sentence for whatever is left out."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from xraycls.data.box_sources import BoxData, BoxSource, read_boxes, read_validation
from xraycls.data.open import open_image
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.loaders.recipes.detectnet import DetectNetRecipe, Placement
from xraycls.loaders.recipes.ssd import SSDRecipe
from xraycls.loaders.recipes.tlt2 import TLT2Recipe
from xraycls.loaders.views import Canvas
from xraycls.tao.dataset_convert import dataset_convert
from xraycls.types import Sample
from xraycls.workflows.detection.data import count_learnable, fitting_batch, picture_sizes, truths_of

LABELS = {
    "a": ["Opacity 0 0 0 10 10 40 40 0 0 0 0 0 0 0", "mass 0 0 0 0 0 9 9 0 0 0 0 0 0 0"],
    "b": ["opacity 0 0 0 60 10 20 40 0 0 0 0 0 0 0", "mass 0 0 0 0 0 9 9 0 0 0 0 0 0 0"],  # left after right
    "c": ["opacity 0 0 0 5 5 6 45 0 0 0 0 0 0 0", "nodule 0 0 0 0 0 9 9 0 0 0 0 0 0 0"],
    "d": [],
}


@pytest.fixture
def folder(tmp_path):
    for name, lines in LABELS.items():
        for kind in ("images", "labels"):
            (tmp_path / kind).mkdir(exist_ok=True)
        (tmp_path / "labels" / f"{name}.txt").write_text("\n".join(lines))
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), np.zeros((50, 100), np.uint8))
    return tmp_path


def data_of(folder, *, validation=None, records=None):
    source = BoxSource(images=folder / "images", labels=None if records else folder / "labels", records=records)
    return BoxData(
        training=(source,),
        validation=validation or (),
        classes=("opacity",),
        mapping={"opacity": "opacity"},
        image_extension="png",
    )


def test_labels_are_mapped_and_what_is_left_out_is_counted(folder, caplog):
    read = read_boxes(data_of(folder))
    assert [[box.label for box in sample.boxes] for sample in read.training] == [["opacity"], [], ["opacity"], []]
    assert [sample.label for sample in read.training] == [1, 0, 1, 0]
    assert "Labels that target_class_mapping lacks are left out: mass (2), nodule (1)." in caplog.text
    assert "1 boxes whose right or lower edge comes first are left out." in caplog.text
    assert "no validation images, so there will be no average precision" in caplog.text


def test_images_of_both_splits_are_counted(folder, caplog):
    data = data_of(folder)
    read = read_boxes(data_of(folder, validation=data.training))
    assert (len(read.training), len(read.validation)) == (4, 4)
    assert "4 images are for training and for validation" in caplog.text


def test_no_object_to_learn_is_an_error(folder):
    for path in (folder / "labels").iterdir():
        path.write_text("")
    with pytest.raises(DataError, match="None of the 4 training images has an object of the classes opacity"):
        read_boxes(data_of(folder))


def test_validation_alone_is_read(folder, caplog):
    gone = BoxSource(images=folder / "images", labels=folder / "gone")
    validation = data_of(folder).training
    data = BoxData(training=(), validation=validation, classes=("opacity",), mapping={"opacity": "opacity"})
    assert {sample.split for sample in read_validation(data).table} == {"val"}
    for path in (folder / "labels").iterdir():
        path.write_text("")
    assert not any(sample.boxes for sample in read_validation(data).table)
    assert "None of the 4 validation images has an object" in caplog.text
    with pytest.raises(DataError, match=r"There is no folder .*gone, which the spec names\. .*--mount"):
        read_validation(BoxData(training=(gone,), classes=("opacity",), mapping={}))


@pytest.mark.parametrize(
    ("lacking", "message"),
    [
        ("images", r"There is no folder .*images, which the spec names\. Mend the spec, or say .* --mount"),
        ("labels", r"There is no folder .*labels, which the spec names\. Mend the spec, or say .* --mount"),
        ("*.png", r"None of the pictures of .* is there\. Check image_directory_path, label_directory_path and"),
    ],
)
def test_what_is_not_there_is_told_in_terms_of_the_spec(folder, lacking, message):
    if "*" in lacking:
        for path in (folder / "images").iterdir():
            path.unlink()
    else:
        (folder / lacking).rename(folder / "elsewhere")
    with pytest.raises(DataError, match=message):
        read_boxes(data_of(folder))


def test_records_in_a_folder_of_the_container(folder):
    with pytest.raises(DataError, match=r"There is no folder /workspace/nowhere, which the spec names\. .*--mount"):
        read_boxes(data_of(folder, records=folder.__class__("/workspace/nowhere/kitti*")))


@pytest.mark.parametrize(
    ("recipe", "kept"),
    [
        (SSDRecipe(Canvas(64, 64), rounded=True), 2),
        (TLT2Recipe(Canvas(64, 64), smallest=(1.0, 1.0)), 1),  # the other is 0.64 pixels wide there
        (TLT2Recipe(Canvas(64, 64), smallest=(0.5, 60.0)), 0),
    ],
)
def test_boxes_below_the_least_size_are_counted(folder, caplog, recipe, kept):
    (folder / "images" / "d.png").write_bytes(b"")  # unreadable: said by the loader
    data = data_of(folder)
    table = read_boxes(data).training
    if not kept:
        with pytest.raises(
            DataError,
            match=r"2 of 2 objects lie outside.* smaller than 0.5 × 60 pixels at 64 × 64.*min_bbox_height",
        ):
            count_learnable(recipe, data.classes, table)
        return
    assert count_learnable(recipe, data.classes, table) == kept
    assert ("1 of 2 objects lie outside their picture, or are smaller than 1 × 1 pixels" in caplog.text) == (kept == 1)


def test_truths_are_in_whole_pixels_of_the_input(folder):
    truths = truths_of(read_boxes(data_of(folder)).training, ("opacity",), SSDRecipe(Canvas(100, 100)))
    assert [truth.boxes.tolist() for truth in truths] == [[[10, 20, 40, 80]], [], [[5, 10, 6, 90]], []]


def test_folders_named_like_splits_are_none_to_a_spec(folder):
    for kind, name in (("images", "a.png"), ("labels", "a.txt")):
        (folder / kind / "test").mkdir()
        (folder / kind / name).rename(folder / kind / "test" / name)
    assert [sample.path.name for sample in read_boxes(data_of(folder)).training] == ["b.png", "c.png", "d.png", "a.png"]


def test_records_of_numbered_classes_are_mapped(folder):
    """TAO's records for SSD hold the numbers of classes, and specs map labels to these."""
    spec = folder / "convert.txt"
    spec.write_text(
        f'kitti_config {{ root_directory_path: "{folder}" image_dir_name: "images" label_dir_name: "labels"\n'
        '  image_extension: ".png" partition_mode: "random" num_partitions: 2 val_split: 25 num_shards: 1 }\n'
        'target_class_mapping { key: "opacity" value: "finding" }\ntarget_class_mapping { key: "mass" value: "bulge" }'
    )
    dataset_convert(spec, folder / "records" / "kitti")
    records, mapping = folder / "records" / "kitti*", {"opacity": "finding", "mass": "bulge"}
    for images in (folder, None):  # without a folder the records' own pictures are used
        source = BoxSource(images=images, records=records)
        read = read_boxes(BoxData(training=(source,), classes=("bulge", "finding"), mapping=mapping, validation_fold=0))
        labels = [[box.label for box in sample.boxes] for sample in read.table]
        assert sorted(labels) == [[], ["bulge"], ["finding"], ["finding", "bulge"]]
        assert len(read.validation) == 1
        assert picture_sizes(read.table).tolist() == [[100, 50]] * 4
        assert open_image(read.table[3]).decode(1).shape == (50, 100)
        shutil.rmtree(folder / "images", ignore_errors=True)
    path = read.table[0].path
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"cut short in the record at byte 0"):
        open_image(read.table[0])


@pytest.mark.parametrize(
    ("placement", "cut"),
    [
        (Placement(), 0),
        (Placement(resize=False), 4),
        (Placement(resize=False, scale=(0.5, 1.0)), 0),
        (Placement((0, 0, 60, 50), resize=False), 0),
        (Placement(sides=(40, 64)), 0),
    ],
)
def test_pictures_that_are_cut_are_counted(folder, caplog, placement, cut):
    table = read_boxes(data_of(folder)).training
    count_learnable(DetectNetRecipe(Canvas(50, 64), placement), ("opacity",), table)
    said = "4 of 4 training pictures are larger than the input of 64 × 50 pixels and lose what lies at their right"
    assert (said in caplog.text) == bool(cut)


@pytest.mark.parametrize(("usual", "processes", "fitting"), [(8, 1, 5), (4, 1, 4), (8, 2, 2), (8, 9, 1)])
def test_a_usual_batch_is_as_large_as_the_data_of_a_process(usual, processes, fitting):
    said = []
    reporter = SimpleNamespace(message=said.append)
    table = SampleTable(tuple(Sample(Path(f"{number}.png")) for number in range(5)), ("a",), Path(), "files")
    assert fitting_batch(usual, table, processes, reporter) == fitting
    assert bool(said) is (fitting < usual)
