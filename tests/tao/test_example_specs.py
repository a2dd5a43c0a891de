"""The specs beside examples/siim_ssd.sh say what the ancestor's own files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from xraycls.tao.dataset_export import DatasetExport
from xraycls.tao.networks.ssd_spec import SSDSpec
from xraycls.tao.programs import read_spec

EXAMPLES = Path(__file__).parents[2] / "examples" / "siim_ssd"


@pytest.mark.parametrize(
    ("ours", "theirs", "kind"),
    [
        ("convert", "ssd_tfrecords_kitti_trainval", DatasetExport),
        ("train", "ssd_train", SSDSpec),
        ("retrain", "ssd_retrain", SSDSpec),
    ],
)
def test_same_values(ours: str, theirs: str, kind: type, shared: Path) -> None:
    seeds = shared / "reference" / "seed_specs"
    assert read_spec(EXAMPLES / f"{ours}.txt", kind) == read_spec(seeds / f"{theirs}.txt", kind)
