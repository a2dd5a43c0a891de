import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from xraycls.cli.app import main
from xraycls.data.formats.siim import read_siim
from xraycls.data.open import read_grey
from xraycls.data.phantom import draw_radiograph, write_phantom
from xraycls.data.siim2kitti import Converted, siim2kitti
from xraycls.data.source import read_source
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError, XrayclsError

IMAGES, PIXELS = 16, 80


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    return write_phantom(tmp_path_factory.mktemp("siim"), images=IMAGES, seed=5, size=128, layout="siim")


@pytest.fixture(scope="module")
def converted(drawn: SampleTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kitti") / "out"
    convert(drawn.root, folder)
    return folder


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A drawn set of its own, to be damaged."""
    return write_phantom(tmp_path / "siim", images=8, seed=6, size=96, layout="siim").root


def convert(source: Path, folder: Path, **options: object) -> Converted:
    return siim2kitti(source / "train_image_level.csv", source / "train", folder, **{"pixels": PIXELS, **options})


def mapping(folder: Path) -> list[dict[str, str]]:
    with (folder / "formatted" / "mapping.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_every_image_has_its_files(drawn, converted):
    rows = mapping(converted)
    assert [row["number"] for row in rows] == [str(n) for n in range(1, IMAGES + 1)]
    assert {row["id"] for row in rows} == {sample.path.stem for sample in drawn}
    for kind, suffix in (("images", "png"), ("labels", "txt")):
        names = {path.name for path in (converted / "formatted" / kind).iterdir()}
        assert names == {f"{n:06d}.{suffix}" for n in range(1, IMAGES + 1)}
    assert {p.name for p in converted.iterdir()} == {"formatted", "studies", "siim2kitti.json"}
    assert {p.name for p in (converted / "formatted").iterdir()} == {"images", "labels", "mapping.csv"}


def test_pictures_are_the_grey_levels_squeezed_to_a_square(drawn, converted):
    paths = {sample.path.stem: sample.path for sample in drawn}
    for row in mapping(converted):
        grey = read_grey(paths[row["id"]])
        assert (row["width"], row["height"]) == (str(grey.shape[1]), str(grey.shape[0]))
        picture = cv2.imread(str(converted / f"formatted/images/{int(row['number']):06d}.png"), cv2.IMREAD_UNCHANGED)
        assert (picture.shape, picture.dtype) == ((PIXELS, PIXELS), np.uint8)
        np.testing.assert_array_equal(picture, cv2.resize(grey, (PIXELS, PIXELS), interpolation=cv2.INTER_AREA))


def test_bones_are_white_whatever_the_file_says(drawn, converted):
    """Against the drawing itself: MONOCHROME1 is inverted once, and 12 and 16 bits give the same levels."""
    samples = {sample.path.stem: sample for sample in drawn}
    for row in mapping(converted):
        sample = samples[row["id"]]
        patient = int(sample.patient.removeprefix("p"))
        drawings = [draw_radiograph(5, patient, n, pneumonia=bool(sample.label), size=128) for n in (1, 2, 3, 4)]
        squeezed = [cv2.resize(d.grey(8), (PIXELS, PIXELS), interpolation=cv2.INTER_AREA) for d in drawings]
        picture = cv2.imread(str(converted / f"formatted/images/{int(row['number']):06d}.png"), cv2.IMREAD_UNCHANGED)
        assert min(np.abs(each - picture.astype(float)).mean() for each in squeezed) < 3


def test_labels_are_the_boxes_on_the_square(drawn, converted):
    samples = {sample.path.stem: sample for sample in drawn}
    positives = 0
    for row in mapping(converted):
        text = (converted / f"formatted/labels/{int(row['number']):06d}.txt").read_text()
        lines = [line.split() for line in text.splitlines()]
        assert all(len(words) == 15 and words[0] == "opacity" for words in lines)
        assert all(float(word) == 0 for words in lines for word in (*words[1:4], *words[8:]))
        across, down = PIXELS / int(row["width"]), PIXELS / int(row["height"])
        wanted = [(b.left * across, b.top * down, b.right * across, b.bottom * down) for b in samples[row["id"]].boxes]
        assert len(lines) == len(wanted)
        np.testing.assert_allclose(
            np.array([words[4:8] for words in lines], float).reshape(-1, 4), np.array(wanted).reshape(-1, 4), atol=1e-6
        )
        positives += bool(lines)
    assert 0 < positives < IMAGES


def test_studies_list_their_images(drawn, converted):
    wanted = {}
    for sample in drawn:
        wanted.setdefault(f"{sample.path.parts[-3]}.txt", set()).add(sample.path.stem)
    studies = {path.name: path.read_text().split() for path in (converted / "studies").iterdir()}
    assert {name: set(ids) for name, ids in studies.items()} == wanted
    assert sum(map(len, studies.values())) == IMAGES
    assert {f"{row['StudyInstanceUID']}.txt" for row in mapping(converted)} == set(wanted)


def test_the_order_follows_the_seed_alone(drawn, converted, tmp_path):
    convert(drawn.root, tmp_path / "same", threads=1)
    assert contents(tmp_path / "same") == contents(converted)
    convert(drawn.root, tmp_path / "other", seed=1)
    ids, others = ([row["id"] for row in mapping(folder)] for folder in (converted, tmp_path / "other"))
    assert sorted(ids) == sorted(others)
    assert len({tuple(ids), tuple(others), tuple(sorted(ids))}) == 3


def test_again_nothing_is_written(drawn, converted):
    before = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in converted.rglob("*")}
    result = convert(drawn.root, converted)
    assert (result.images, result.written) == (IMAGES, 0)
    assert result.boxes == sum(len(sample.boxes) for sample in drawn)
    assert result.positives == sum(bool(sample.boxes) for sample in drawn)
    assert {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in converted.rglob("*")} == before


def test_a_stopped_run_goes_on(drawn, converted, tmp_path):
    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    folder = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        convert(drawn.root, folder, progress=stop)
    assert not (folder / "formatted" / "mapping.csv").exists()
    journal = folder / "formatted" / "mapping.partial.csv"
    journal.write_text(journal.read_text() + "\n6,half of a li")
    (folder / "formatted/images/000002.png").unlink()
    calls = []
    result = convert(drawn.root, folder, progress=lambda *done: calls.append(done))
    assert result.written == IMAGES - 4
    assert calls[-1] == (IMAGES, IMAGES)
    assert contents(folder) == contents(converted)


def test_pictures_that_cannot_be_read_leave_a_gap(copy, tmp_path, caplog):
    damaged = sorted((copy / "train").rglob("*.dcm"))[0]
    sound = damaged.read_bytes()
    damaged.write_bytes(sound[:700])
    with pytest.raises(DataError, match=damaged.name):
        convert(copy, tmp_path / "strict", strict=True)
    result = convert(copy, tmp_path / "out")
    assert (result.images, result.written) == (7, 7)
    assert list(result.left_out) == [damaged.stem]
    assert "1 of 8 images could not be read" in caplog.text
    assert damaged.name in caplog.text
    numbers = {int(row["number"]) for row in mapping(tmp_path / "out")}
    assert numbers < set(range(1, 9))
    damaged.write_bytes(sound)
    assert convert(copy, tmp_path / "out").written == 1
    convert(copy, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_missing_pictures_are_left_out(copy, tmp_path, caplog):
    next((copy / "train").rglob("*.dcm")).unlink()
    with pytest.raises(DataError, match="1 of 8 images"):
        convert(copy, tmp_path / "out", strict=True)
    assert convert(copy, tmp_path / "out").images == 7
    assert "1 of 8 images" in caplog.text


def test_nothing_to_read_is_one_sentence(copy, tmp_path):
    for path in (copy / "train").rglob("*.dcm"):
        path.write_bytes(b"no dicom")
    with pytest.raises(DataError, match=r"No picture of .* could be read, such as: "):
        convert(copy, tmp_path / "out")


def test_a_folder_of_something_else_is_left_alone(drawn, converted, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="holds something else, and nothing is deleted"):
        convert(drawn.root, tmp_path)
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}
    with pytest.raises(XrayclsError, match="is a file"):
        convert(drawn.root, tmp_path / "thesis.txt")
    with pytest.raises(XrayclsError, match="could not be written"):
        convert(drawn.root, tmp_path / "thesis.txt" / "below")
    for options in ({"pixels": 64}, {"seed": 1}):
        with pytest.raises(DataError, match=f"holds the same images converted with --px {PIXELS} --seed 0"):
            convert(drawn.root, converted, **options)


def test_another_table_does_not_go_on_here(copy, converted):
    with pytest.raises(DataError, match="holds other images converted"):
        convert(copy, converted)


@pytest.mark.parametrize("study", ["../../outside", "/tmp/outside", "a/b", "..", "x" * 300])
def test_a_study_cannot_leave_the_folder(tmp_path, study):
    (tmp_path / "train").mkdir()
    cv2.imwrite(str(tmp_path / "train" / "a.png"), np.zeros((20, 20), np.uint8))
    (tmp_path / "train_image_level.csv").write_text(
        f"id,boxes,label,StudyInstanceUID\na_image,,none 1 0 0 1 1,{study}\n"
    )
    with pytest.raises(DataError, match="can't name a file"):
        convert(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_odd_names(tmp_path):
    source, folder = tmp_path / "mit Leer und é", tmp_path / ("ö " + "x" * 190)
    name = "é, \"a' " + "n" * 190
    (source / "train").mkdir(parents=True)
    (source / "train" / f"{name}.png").write_bytes(cv2.imencode(".png", np.full((40, 60), 9, np.uint8))[1].tobytes())
    with (source / "train_image_level.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "boxes", "StudyInstanceUID"), (f"{name}_image", "", "s")])
    assert convert(source, folder).images == 1
    assert [row["id"] for row in mapping(folder)] == [name]
    assert convert(source, folder).written == 0


def test_its_folder_is_a_data_source_that_knows_the_studies(drawn, converted):
    study = {sample.path.stem: sample.patient for sample in read_siim(drawn.root)}
    numbered = {f"{int(row['number']):06d}": study[row["id"]] for row in mapping(converted)}
    for folder in (converted, converted / "formatted"):
        table = read_source(folder)
        assert table.source == "kitti"
        assert {sample.path.stem: sample.patient for sample in table} == numbered
    assert len(set(numbered.values())) < IMAGES


@pytest.mark.parametrize("pixels", [-1, 7, 8193, 1_000_000])
def test_sizes_of_no_radiograph_are_refused(drawn, tmp_path, pixels):
    with pytest.raises(UsageError, match=f"--px {pixels} is not between 8 and 8192"):
        convert(drawn.root, tmp_path / "out", pixels=pixels)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ("--l", "--t", "--px", "--kf"),
        ("-l", "-t", "--px", "--kf"),
        ("--label", "--train", "--pixel", "--output_dir"),
        ("--la", "--tr", "--pix", "--out"),
    ],
)
def test_the_flags_of_old(drawn, converted, tmp_path, capsys, flags):
    values = (drawn.root / "train_image_level.csv", drawn.root / "train", PIXELS, tmp_path / "out")
    arguments = [str(part) for pair in zip(flags, values, strict=True) for part in pair]
    with pytest.raises(SystemExit) as end:
        main(["data", "siim2kitti", *arguments])
    assert end.value.code == 0
    assert f"Wrote {IMAGES} images" in capsys.readouterr().out
    assert contents(tmp_path / "out") == contents(converted)
    with pytest.raises(SystemExit):
        main(["data", "siim2kitti", *arguments, "--json"])
    assert json.loads(capsys.readouterr().out)["written"] == 0


def test_the_result_reads_as_kitti(drawn, converted):
    from xraycls.data.formats.kitti import read_kitti

    table = read_kitti(converted / "formatted")
    assert len(table) == IMAGES
    assert sum(len(s.boxes) for s in table) == sum(len(s.boxes) for s in read_siim(drawn.root))


def test_a_real_file_marked_monochrome1_comes_out_inverted(shared, tmp_path):
    names = ("16d7f894-55d7-4d95-8957-d18987f0e981", "16d7f894_FAKE_MONOCHROME1")
    label = tmp_path / "labels.csv"
    label.write_text("id,boxes,StudyInstanceUID\n" + "".join(f"{name}_image,,s\n" for name in names))
    siim2kitti(label, shared / "data" / "dicom" / "rsna", tmp_path / "out", pixels=128)
    numbers = {row["id"]: int(row["number"]) for row in mapping(tmp_path / "out")}
    one, other = (
        cv2.imread(str(tmp_path / f"out/formatted/images/{numbers[name]:06d}.png"), cv2.IMREAD_UNCHANGED).astype(int)
        for name in names
    )
    assert np.abs(one + other - 255).max() <= 1
    assert one.std() > 30
