"""The specs beside the examples say what the ancestors' own files say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from xraycls.tao.dataset_export import DatasetExport
from xraycls.tao.networks.ssd_spec import SSDSpec
from xraycls.tao.networks.yolo_v4_spec import YOLOv4Spec
from xraycls.tao.programs import read_spec

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("ours", "theirs", "kind"),
    [
        ("siim_ssd/convert", "ssd_tfrecords_kitti_trainval", DatasetExport),
        ("siim_ssd/train", "ssd_train", SSDSpec),
        ("siim_ssd/retrain", "ssd_retrain", SSDSpec),
        ("yolo_v4/train", "yolo_v4_train", YOLOv4Spec),
    ],
)
def test_same_values(ours: str, theirs: str, kind: type, shared: Path) -> None:
    seeds = shared / "reference" / "seed_specs"
    assert read_spec(EXAMPLES / f"{ours}.txt", kind) == read_spec(seeds / f"{theirs}.txt", kind)


def test_the_retraining_of_yolo_v4_differs_by_its_start_and_its_regularizer() -> None:
    first, again = (read_spec(EXAMPLES / "yolo_v4" / f"{name}.txt", YOLOv4Spec) for name in ("train", "retrain"))
    regularizer = again.training_config.regularizer
    assert (first.training_config.regularizer.type, regularizer.type) == ("L1", "NO_REG")
    training = replace(
        again.training_config,
        regularizer=first.training_config.regularizer,
        pruned_model_path=None,
        pretrain_model_path=first.training_config.pretrain_model_path,
    )
    assert replace(again, training_config=training) == first
