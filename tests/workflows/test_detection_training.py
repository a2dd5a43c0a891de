"""An SSD from a spec: trained, evaluated, resumed, pruned and retrained on a few synthetic films."""

import csv
import json
import os
import shutil
import signal
from functools import partial

import pytest
import torch

from xraycls.data.phantom import write_phantom
from xraycls.data.siim2kitti import siim2kitti
from xraycls.errors import DataError, RunError, UsageError
from xraycls.models.detection.files import load_detector
from xraycls.tao.dataset_convert import dataset_convert
from xraycls.tao.networks.ssd import SSD
from xraycls.training.interrupt import Interrupted
from xraycls.training.reporter import Silent
from xraycls.workflows.detection.prune import prune_detector
from xraycls.workflows.detection.spec import evaluate_spec, train_spec

train_ssd, evaluate_ssd = partial(train_spec, SSD), partial(evaluate_spec, SSD)

SPEC = """
random_seed: 42
ssd_config {
  aspect_ratios_global: "[1.0, 2.0, 0.5]" scales: "[0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95]"
  two_boxes_for_ar1: true variances: "[0.1, 0.1, 0.2, 0.2]" arch: "resnet" nlayers: 10 LOSS
}
training_config {
  batch_size_per_gpu: 6 num_epochs: 3 EXTRA
  learning_rate { soft_start_annealing_schedule {
    min_learning_rate: 1e-5 max_learning_rate: 1e-3 soft_start: 0.2 annealing: 0.6 } }
  regularizer { type: L2 weight: 1e-5 }
}
eval_config { validation_period_during_training: 2 batch_size: 5 matching_iou_threshold: 0.5 }
nms_config { confidence_threshold: 0.01 clustering_iou_threshold: 0.6 top_k: 50 }
augmentation_config {
  preprocessing { output_image_width: 64 output_image_height: 64 output_image_channel: 3
                  min_bbox_width: 1.0 min_bbox_height: 1.0 }
  spatial_augmentation { hflip_probability: 0.5 zoom_min: 0.9 zoom_max: 1.1 }
}
dataset_config {
  data_sources { tfrecords_path: "ROOT/tf/kitti*" image_directory_path: "ROOT/kitti/formatted" }
  image_extension: "png" validation_fold: FOLD
  target_class_mapping { key: "LABEL" value: "opacity" }
}
"""
CONVERT = """
kitti_config {
  root_directory_path: "ROOT/kitti/formatted" image_dir_name: "images" label_dir_name: "labels"
  image_extension: ".png" partition_mode: "random" num_partitions: 2 val_split: 25 num_shards: 2
}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Records of 24 films laid out like SIIM's."""
    root = tmp_path_factory.mktemp("ssd")
    write_phantom(root / "siim", images=24, size=100, layout="siim")
    siim2kitti(root / "siim" / "train_image_level.csv", root / "siim" / "train", root / "kitti", pixels=64)
    (root / "convert.txt").write_text(CONVERT.replace("ROOT", str(root)))
    dataset_convert(root / "convert.txt", root / "tf" / "kitti")
    return root


def spec(root, name="spec.txt", *, loss="", extra="", fold=0, label="opacity"):
    path = root / name
    text = SPEC.replace("ROOT", str(root)).replace("LOSS", loss).replace("EXTRA", extra)
    path.write_text(text.replace("FOLD", str(fold)).replace("LABEL", label))
    return path


@pytest.fixture(scope="module")
def trained(root):
    torch.manual_seed(0)
    return train_ssd(spec(root), root / "results", device="cpu", precision="fp32", cache=str(root / "kept"))


def test_a_training_leaves_what_tao_leaves(root, trained):
    results = root / "results"
    assert sorted(p.name for p in (results / "weights").iterdir()) == [
        f"ssd_resnet10_epoch_{epoch:03d}.safetensors" for epoch in (1, 2, 3)
    ]
    rows = list(csv.DictReader((results / "ssd_training_log_resnet10.csv").open()))
    assert list(rows[0]) == ["epoch", "AP_opacity", "loss", "lr", "mAP", "validation_loss"]
    assert [row["mAP"] == "nan" for row in rows] == [True, False, False]  # every second epoch, and the last
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert float(rows[-1]["lr"]) == pytest.approx(1e-5, rel=1e-3)
    lines = [json.loads(line) for line in (results / "status.json").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["STARTED", *["RUNNING"] * 4, "SUCCESS"]
    assert [line["epoch"] for line in lines[2:-1]] == [1, 2, 3]
    assert lines[1]["message"].endswith("spec.txt, a spec of ssd for TLT 2: 32 honoured, 2 approximated.")
    zoom = "augmentation_config.spatial_augmentation.zoom_min"
    assert lines[1]["categorical"][zoom] == "approximated: about the middle of the image"
    assert trained.model == results / "weights/ssd_resnet10_epoch_003.safetensors"


def test_each_training_picture_is_kept_once_decoded(root, trained):
    """Those of validation come from their files, as in a later evaluation."""
    assert len(list((root / "kept").glob("??/*"))) == 24 - 6


def test_evaluation_repeats_what_training_saw(root, trained):
    found = evaluate_ssd(
        root / "results/weights/ssd_resnet10_epoch_003.hdf5", spec(root), device="cpu", precision="fp32"
    )
    assert found.average.mean == pytest.approx(trained.outcome.rows[-1]["val_mAP"], abs=1e-6)
    assert found.report.images == 6
    assert json.loads((root / "results/weights/evaluation.json").read_text())["images"] == 6


def test_evaluation_needs_nothing_of_training(root, trained, tmp_path):
    """Neither its part of the spec nor its data, which may be gone by then."""
    whole = spec(root).read_text()
    records = tmp_path / "records"
    shutil.copytree(root / "tf", records)
    for path in records.glob("*fold-001*"):
        path.unlink()
    parts = ["eval_config { batch_size: 5 matching_iou_threshold: 0.5 visualize_pr_curve: true }"]
    parts += [whole[whole.index(name) :].split("\n}\n")[0] + "\n}\n" for name in ("dataset_config",)]
    parts += ["nms_config { confidence_threshold: 0.01 clustering_iou_threshold: 0.6 top_k: 50 }\nssd_config { }\n"]
    path = tmp_path / "spec.txt"
    path.write_text("\n".join(parts).replace(f"{root}/tf", str(records)))
    found = evaluate_ssd(trained.model, path, results=tmp_path / "out", device="cpu", precision="fp32")
    assert found.average.mean == pytest.approx(trained.outcome.rows[-1]["val_mAP"], abs=1e-6)
    assert {file.name for file in found.files} == {"evaluation.json", "PR_curve.png", "FROC_curve.png"}
    path.write_text(path.read_text().replace("validation_fold: 0", ""))
    with pytest.raises(DataError, match=r"no validation images\. Give validation sources, or a validation fold"):
        evaluate_ssd(trained.model, path, results=tmp_path / "out", device="cpu")
    path.write_text(path.read_text().replace('value: "opacity"', 'value: "mass"'))
    with pytest.raises(UsageError, match="The model finds opacity, and the data have mass"):
        evaluate_ssd(trained.model, path, results=tmp_path / "out", device="cpu")


@pytest.mark.walkthrough
def test_an_interrupted_training_goes_on_as_if_nothing_had_been(root, trained, tmp_path):
    class Stop(Silent):
        def epoch(self, row, improved):
            if row["epoch"] == 2:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=r"^Stopped at epoch 3, batch 1 of 3\. All is saved; .* and --continue\.$"):
        train_ssd(spec(root), tmp_path / "run", key="k", device="cpu", precision="fp32", reporter=Stop())
    with pytest.raises(UsageError, match="already holds a training"):
        train_ssd(spec(root), tmp_path / "run", key="k", device="cpu", precision="fp32")
    with pytest.raises(UsageError, match="key doesn't open"):
        train_ssd(spec(root), tmp_path / "run", key="other", initial_epoch=3, device="cpu", precision="fp32")
    with pytest.raises(RunError, match="goes on with epoch 3, not 2"):
        train_ssd(spec(root), tmp_path / "run", key="k", initial_epoch=2, device="cpu", precision="fp32")
    train_ssd(spec(root), tmp_path / "run", key="k", resume=True, device="cpu", precision="fp32")
    one, _ = load_detector(root / "results/weights/ssd_resnet10_epoch_003.safetensors")
    other, _ = load_detector(tmp_path / "run/weights/ssd_resnet10_epoch_003.tlt", key="k")
    for name, tensor in one.net.state_dict().items():
        assert torch.equal(tensor, other.net.state_dict()[name]), name
    log = (tmp_path / "run" / "ssd_training_log_resnet10.csv").read_text()
    again = train_ssd(spec(root), tmp_path / "run", key="k", resume=True, device="cpu", precision="fp32")
    assert again.model == tmp_path / "run/weights/ssd_resnet10_epoch_003.tlt"
    assert (tmp_path / "run" / "ssd_training_log_resnet10.csv").read_text() == log


def test_pruned_and_trained_again_it_stays_narrow(root, trained, tmp_path):
    model = root / "results/weights/ssd_resnet10_epoch_003.safetensors"
    path, report = prune_detector(model, tmp_path / "pruned", criterion="intersection", threshold=0.97)
    assert report.ratio < 0.9
    train_ssd(spec(root), tmp_path / "again", weights=path, epochs=1, device="cpu", precision="fp32")
    detector, _ = load_detector(tmp_path / "again/weights/ssd_resnet10_epoch_001.safetensors")
    assert sum(p.numel() for p in detector.parameters()) < 0.9 * sum(
        p.numel() for p in load_detector(model)[0].parameters()
    )
    with pytest.raises(UsageError, match="is a pruned model, and what is asked for is another network"):
        train_ssd(spec(root), tmp_path / "other", weights=path, size=(96, 96), device="cpu", precision="fp32")


def test_the_focal_loss_of_tlt2_learns_too(root, tmp_path):
    focal = spec(root, "focal.txt", loss="focal_loss_alpha: 0.25 focal_loss_gamma: 2.0 loss_loc_weight: 0.8")
    made = train_ssd(focal, tmp_path / "focal", epochs=2, device="cpu", precision="fp32")
    detector, _ = load_detector(tmp_path / "focal/weights/ssd_resnet10_epoch_002.safetensors")
    assert detector.config.loss.focal == pytest.approx((0.25, 2.0))
    assert made.outcome.rows[-1]["val_loss"] < 20


def test_a_classifier_gives_its_weights_to_the_backbone(root, tmp_path, caplog):
    from torchvision.models import resnet18

    torch.save(resnet18().state_dict(), tmp_path / "imagenet.pth")
    told: list[str] = []

    class Listen(Silent):
        def message(self, text):
            told.append(text)

    wide = spec(root, "wide.txt")
    wide.write_text(wide.read_text().replace("nlayers: 10", "nlayers: 18"))
    weights = tmp_path / "imagenet.pth"
    train_ssd(wide, tmp_path / "run", weights=weights, epochs=1, device="cpu", precision="fp32", reporter=Listen())
    start = told.index(f"120 of 150 tensors of the backbone come from {weights}.")
    assert told[start + 1] == "5 projections that imagenet.pth doesn't have start as the identity."
    assert told[0].endswith("for TLT 2: 32 honoured, 2 approximated.")
    assert told[1] == (
        "  approximated: augmentation_config.spatial_augmentation.zoom_min, zoom_max (about the middle of the image)"
    )
    assert told[2] == "The command line overrides the spec: num_epochs 1."
    assert told[3] == "18 training and 6 validation images, 21 objects to learn: opacity."


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fold": 7}, "No file of validation_fold 7"),
        ({"label": "nodule"}, r"None of the 18 training images has an object .* the labels are opacity"),
    ],
)
def test_data_that_can_not_be_learnt_from(root, tmp_path, settings, message):
    with pytest.raises(DataError, match=message):
        train_ssd(spec(root, "wrong.txt", **settings), tmp_path / "run", device="cpu", precision="fp32")


def test_one_image_at_a_time_is_too_few_for_a_small_input(root, tmp_path):
    with pytest.raises(UsageError, match=r"One image at a time can't be trained at 64 × 64 pixels.* --batch-size 2"):
        train_ssd(spec(root), tmp_path / "run", batch_size=1, device="cpu", precision="fp32")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config.yaml", r"run holds a run of xraycls train\. Choose another folder with -r"),
        ("weights/ssd_resnet10_epoch_080.tlt", r"run already holds a training\. Go on with it with --continue, or"),
    ],
)
def test_another_run_is_left_alone(root, tmp_path, file, message):
    path = tmp_path / "run" / file
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(UsageError, match=message):
        train_ssd(spec(root), tmp_path / "run", device="cpu", precision="fp32")
    assert [each for each in (tmp_path / "run").rglob("*") if each.is_file()] == [path]
