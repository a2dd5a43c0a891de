"""Sets of findings that are no plain table: Parquet shards of the hub, Open-i's reports, classes as findings."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xraycls.data.headers import header_of
from xraycls.data.open import open_image
from xraycls.data.options import ReadOptions
from xraycls.data.parquet import picture_in_parquet
from xraycls.data.prepare import prepare
from xraycls.data.source import load_table, read_table
from xraycls.errors import DataError, UsageError

NAMES = ["No Finding", "Atelectasis", "Cardiomegaly", "Effusion"]


def png(level: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((14, 12), level, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def draw(*files: Path) -> None:
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(10 + number))


def shard(path: Path, labels: list, *, feature: dict, first: int = 0, **columns: list) -> None:
    """A shard as the library "datasets" writes it: a structure of bytes and path, and its description of the labels."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pictures = [{"bytes": png(first + row), "path": f"{first + row:08d}_000.png"} for row in range(len(labels))]
    table = pa.table({"image": pictures, "labels": labels, **columns})
    features = {"image": {"_type": "Image"}, "labels": feature}
    described = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(described), path, row_group_size=2)


LISTED = {"feature": {"names": NAMES, "_type": "ClassLabel"}, "_type": "Sequence"}


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """Seven films in three shards of two splits, as NIH's fourteen findings lie on the hub."""
    root = tmp_path / "nih"
    shard(root / "data/train-00000-of-00002.parquet", [[0], [1, 3], [2]], feature=LISTED, **{"Patient ID": [1, 2, 3]})
    shard(root / "data/train-00001-of-00002.parquet", [[3], None], feature=LISTED, first=3, **{"Patient ID": [4, 4]})
    shard(root / "data/test-00000-of-00001.parquet", [[0], [2]], feature=LISTED, first=5, **{"Patient ID": [6, 7]})
    return root


def test_shards_of_lists_are_findings_with_their_splits_and_pictures(hub):
    table = read_table(hub)
    assert table.findings == ("Atelectasis", "Cardiomegaly", "Effusion")
    assert [s.findings for s in table.split("train")] == [
        (0, 0, 0),
        (1, 0, 1),
        (0, 1, 0),
        (0, 0, 1),
        (None, None, None),
    ]
    assert [s.patient for s in table.split("train")] == ["1", "2", "3", "4", "4"]
    assert [s.findings for s in table.split("test")] == [(0, 0, 0), (0, 1, 0)]
    levels = {int(open_image(s).pixels()[0, 0]) for s in table}
    assert levels == set(range(7))
    header = header_of(table[0])
    assert (header.width, header.height, header.format) == (12, 14, "PNG")
    assert len({table.name_of(s) for s in table}) == 7


def test_shards_are_prepared_and_trained_from_like_any_source(hub, tmp_path):
    store = tmp_path / "store"
    prepare(hub, store, size=16)
    stored = read_table(store)
    assert sorted(s.findings for s in stored if s.findings[0] is not None) == sorted(
        s.findings for s in read_table(hub) if s.findings[0] is not None
    )
    loaded = load_table(hub, val_fraction=0.3)
    assert len(loaded) == 6  # that of which nothing is known is no use
    assert loaded.fingerprint() == load_table(hub, val_fraction=0.3).fingerprint()


def test_one_label_a_picture_and_columns_of_ones(tmp_path):
    shard(tmp_path / "one.parquet", [0, 2, 2], feature={"names": NAMES, "_type": "ClassLabel"})
    assert read_table(tmp_path / "one.parquet").classes == ("No Finding", "Cardiomegaly")
    shard(tmp_path / "text.parquet", ["Effusion|Mass", "No Finding", "Mass"], feature={})
    texts = read_table(tmp_path / "text.parquet", options=ReadOptions(label_separator="|"))
    assert (texts.findings, [s.findings for s in texts]) == (("Effusion", "Mass"), [(1, 1), (0, 0), (0, 1)])
    columns = {"Edema": [1, 0, None], "Mass": [0, -1, 1]}
    shard(tmp_path / "columns.parquet", ["", "", ""], feature={}, **columns)
    ones = read_table(tmp_path / "columns.parquet", options=ReadOptions(labels="Edema,Mass"))
    assert [s.findings for s in ones] == [(1, 0), (0, 0.5), (None, 1)]
    with pytest.raises(DataError, match="has no column 'Hernia'"):
        read_table(tmp_path / "columns.parquet", options=ReadOptions(labels="Hernia"))


def test_parquet_that_is_no_set_of_pictures_is_one_sentence(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"text": ["a"], "label": ["b"]}), tmp_path / "text.parquet")
    with pytest.raises(DataError, match="has no column of pictures; it has: text, label"):
        read_table(tmp_path / "text.parquet")
    pq.write_table(pa.table({"image": [b"x"], "age": [3]}), tmp_path / "none.parquet")
    with pytest.raises(DataError, match="has no column of labels"):
        read_table(tmp_path / "none.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="could not be read as Parquet"):
        read_table(tmp_path / "broken.parquet")
    pq.write_table(pa.table({"image": [None, b"no png"], "label": ["A", "B"]}), tmp_path / "empty.parquet")
    table = read_table(tmp_path / "empty.parquet")
    with pytest.raises(DataError, match=r"Row 0 of .* holds no picture"):
        picture_in_parquet(table[0])
    with pytest.raises(DataError):
        open_image(table[1])


def report(folder: Path, number: int, terms: list[str], films: list[str]) -> None:
    major = "".join(f"<major>{term}</major>" for term in terms)
    pictures = "".join(
        f'<parentImage id="{film}"><figureId>F1</figureId><caption>Xray Chest PA and Lateral</caption></parentImage>'
        for film in films
    )
    text = f'<?xml version="1.0"?><eCitation><uId id="CXR{number}"/><MeSH>{major}</MeSH>{pictures}</eCitation>'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number}.xml").write_text(text)


def test_openi_reads_terms_of_reports_and_the_films_that_they_name(tmp_path):
    reports = tmp_path / "ecgen-radiology"
    report(reports, 1, ["normal"], ["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"])
    report(reports, 2, ["Cardiomegaly/borderline", "Pulmonary Artery/enlarged"], ["CXR2_IM-0652-1001"])
    report(reports, 10, ["Cardiomegaly", "Opacity/lung/base/left"], ["CXR10_IM-0002-1001"])
    report(reports, 11, ["No Indexing"], ["CXR11_IM-0067-1001"])
    report(reports, 12, ["normal"], [])
    films = (
        "CXR1_1_IM-0001-3001",
        "CXR1_1_IM-0001-4001",
        "CXR2_IM-0652-1001",
        "CXR10_IM-0002-1001",
        "CXR11_IM-0067-1001",
    )
    draw(*(tmp_path / "NLMCXR_png" / f"{film}.png" for film in films))
    table = read_table(tmp_path)
    assert table.findings == ("Cardiomegaly", "Opacity", "Pulmonary Artery")
    told = {s.path.stem: s.findings for s in table}
    assert [told[film] for film in films] == [(0, 0, 0), (0, 0, 0), (1, 0, 1), (1, 1, 0), (None, None, None)]
    assert {s.path.stem: s.patient for s in table}["CXR1_1_IM-0001-4001"] == "1"
    assert read_table(reports, images=tmp_path / "NLMCXR_png").findings == table.findings
    (reports / "3.xml").write_text("<eCitation><MeSH>")
    with pytest.raises(DataError, match=r"3\.xml is no report of Open-i: it is not XML"):
        read_table(tmp_path)
    (reports / "3.xml").write_text('<!DOCTYPE a [<!ENTITY a "b">]><eCitation><MeSH/></eCitation>')
    with pytest.raises(DataError, match="declares a document type"):
        read_table(tmp_path)


COVID = "patientid,offset,sex,age,finding,RT_PCR_positive,survival,view,modality,location,filename,license\n"


def test_covid_chestxray_names_findings_from_general_to_particular(tmp_path):
    draw(*(tmp_path / "images" / f"{name}.png" for name in "abcdef"))
    cells = ["Pneumonia/Viral/COVID-19", "No Finding", "Pneumonia/Fungal", "todo", "Pneumonia", "Tuberculosis"]
    views, kinds = ["PA"] * 6, ["X-ray"] * 4 + ["CT"] + ["X-ray"]
    rows = "".join(
        f"{n},0,M,{40 + n},{cell},Y,,{views[n]},{kinds[n]},Rome,{'abcdef'[n]}.png,CC\n" for n, cell in enumerate(cells)
    )
    (tmp_path / "metadata.csv").write_text(COVID + rows)
    table = read_table(tmp_path / "metadata.csv")
    assert table.findings == ("COVID-19", "Fungal", "Pneumonia", "Tuberculosis", "Viral")
    assert {s.path.stem: s.findings for s in table} == {
        "a": (1, 0, 1, 0, 1),
        "b": (0, 0, 0, 0, 0),
        "c": (0, 1, 1, 0, 0),
        "d": (None,) * 5,
        "f": (0, 0, 0, 1, 0),
    }
    assert [s.patient for s in table] == ["0", "1", "2", "3", "5"]
    assert dict(table[0].attributes)["location"] == "Rome"
    single = read_table(tmp_path / "metadata.csv", images=tmp_path / "images", options=ReadOptions(task="single"))
    assert "Pneumonia/Viral/COVID-19" in single.classes


def test_classes_of_studies_are_findings_when_asked(tmp_path):
    draw(*(tmp_path / "stage_2_train_images" / f"{name}.png" for name in "abc"))
    boxes = "a,1,1,5,5,1\nb,,,,,0\nc,,,,,0\n"
    (tmp_path / "stage_2_train_labels.csv").write_text("patientId,x,y,width,height,Target\n" + boxes)
    details = "a,Lung Opacity\nb,Normal\nc,No Lung Opacity / Not Normal\n"
    (tmp_path / "stage_2_detailed_class_info.csv").write_text("patientId,class\n" + details)
    assert len(read_table(tmp_path).classes) == 3
    table = read_table(tmp_path, options=ReadOptions(task="multi"))
    assert table.findings == ("No Lung Opacity / Not Normal", "Lung Opacity")
    assert [s.findings for s in table] == [(0, 1), (0, 0), (1, 0)]
    assert [table.classes[s.label or 0] for s in table] == ["Finding", "No Finding", "Finding"]
    one = read_table(tmp_path, options=ReadOptions(task="multi", labels="Lung Opacity"))
    assert (one.findings, [s.findings for s in one]) == (("Lung Opacity",), [(1,), (0,), (0,)])
    siim = tmp_path / "siim"
    draw(*(siim / "train" / study / f"{study}i.png" for study in ("s", "t")))
    (siim / "train_image_level.csv").write_text(
        "id,boxes,label,StudyInstanceUID\nsi_image,,none 1 0 0 1 1,s\nti_image,,none 1 0 0 1 1,t\n"
    )
    header = "id,Negative for Pneumonia,Typical Appearance,Indeterminate Appearance,Atypical Appearance\n"
    (siim / "train_study_level.csv").write_text(header + "s_study,0,1,0,0\nt_study,1,0,0,0\n")
    studies = read_table(siim, options=ReadOptions(task="multi"))
    assert studies.findings == ("Typical Appearance", "Indeterminate Appearance", "Atypical Appearance")
    assert [s.findings for s in studies] == [(1, 0, 0), (0, 0, 0)]


def test_classes_without_a_healthy_one_are_no_findings(tmp_path):
    draw(*(tmp_path / name / f"{name}.png" for name in ("COVID", "Viral")))
    with pytest.raises(UsageError, match="tells one label an image"):
        read_table(tmp_path, options=ReadOptions(task="multi"))
