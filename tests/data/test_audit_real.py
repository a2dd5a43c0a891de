"""What the audit says of the real sets; every finding was looked at by eye and is true."""

import logging

import pytest

from xraycls.data.audit import audit
from xraycls.data.phantom import write_phantom
from xraycls.data.phantom.layouts import LAYOUTS
from xraycls.data.source import read_source


def findings(table, **options):
    return {finding.kind: finding for finding in audit(table, **options).findings}


@pytest.mark.exhaustive
def test_kermany_originals(shared):
    """Normal films were saved at a higher quality, and their markers stand lower: both were read from the films."""
    found = findings(read_source(shared / "data/kermany_native"))
    assert set(found) == {"shortcut", "marker"}
    assert found["shortcut"].figures == {"class": "PNEUMONIA", "auc": 1.0, "features": ["bytes a pixel"]}
    assert found["marker"].figures["auc"] > 0.8
    assert found["marker"].figures["counts"]["NORMAL"]["L"] == 0


@pytest.mark.walkthrough
def test_kermany_at_224_pixels(shared):
    """Re-encoding took the shortcut away; 30 films stand twice, and numbers are not patients."""
    found = findings(read_source(shared / "data/kermany_224"), quick=True)
    assert set(found) == {"duplicate", "patient-number-across-splits", "class-shares"}
    assert found["class-shares"].title.endswith("test has 62% PNEUMONIA, train 74%")
    groups = found["duplicate"].groups
    assert (len(groups), len(found["duplicate"].samples)) == (30, 62)


def test_dicom(shared):
    """One is marked MONOCHROME1 wrongly; three repeat a fourth with other tags."""
    table = read_source(shared / "data/dicom")
    found = findings(table)
    assert set(found) == {"polarity", "near-duplicate"}
    assert [table.name_of(table[row]) for row in found["polarity"].samples] == ["rsna/16d7f894_FAKE_MONOCHROME1.dcm"]
    copies = [[table.name_of(table[row])[-5] for row in group.samples] for group in found["near-duplicate"].groups]
    assert copies == [["1", "4", "5", "6"]]


def test_boxes_of_nih(shared, caplog):
    with caplog.at_level(logging.ERROR):  # most of the list's films are not in this subset
        table = read_source(
            shared / "data/nih_rsna_bbox/BBox_List_2017.csv", images=shared / "data/nih_rsna_bbox/images"
        )
    assert sum(len(sample.boxes) for sample in table) > 100
    assert findings(table, quick=True) == {}


@pytest.mark.exhaustive
@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) - {"coronahack"}))  # that one has to be arranged first
def test_the_phantom_is_clean_in_every_layout(tmp_path, layout):
    write_phantom(tmp_path / "films", images=48, seed=5, size=160, layout=layout, threads=1)
    table = read_source(tmp_path / "films")
    assert len(table) > 40
    assert findings(table) == {}


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_phantom_is_clean_with_every_seed(tmp_path, seed):
    write_phantom(tmp_path / "films", images=60, seed=seed, size=192, threads=1)
    assert findings(read_source(tmp_path / "films")) == {}
