"""A YOLOv4 from a spec: trained, evaluated, pruned, retrained and used on a few synthetic films."""

import csv
import json
import re

import pytest
import torch

from xraycls.cli import main
from xraycls.data.formats.kitti import read_kitti
from xraycls.data.phantom import write_phantom
from xraycls.data.siim2kitti import siim2kitti
from xraycls.errors import SpecError
from xraycls.models.detection.files import load_detector
from xraycls.tao.networks import NETWORKS
from xraycls.tao.programs import open_spec
from xraycls.training.annealing import SoftStartCosine
from xraycls.workflows.detection.prune import prune_detector
from xraycls.workflows.detection.spec import evaluate_spec, train_spec

YOLO_V4 = NETWORKS["yolo_v4"]
SPEC = """
random_seed: 42
yolov4_config {
  big_anchor_shape: "[(30.0, 30.0), (40.0, 25.0)]" mid_anchor_shape: "[(10.0, 12.0), (16.0, 14.0)]"
  box_matching_iou: 0.25 matching_neutral_box_iou: 0.5 arch: "cspdarknet_tiny"
  loss_loc_weight: 1.0 loss_neg_obj_weights: 2.0 loss_class_weights: 3.0
  label_smoothing: 0.1 big_grid_xy_extend: 0.05 mid_grid_xy_extend: 0.1 NETWORK
}
training_config {
  batch_size_per_gpu: 6 num_epochs: 3 checkpoint_interval: 2 TRAINING
  learning_rate { soft_start_cosine_annealing_schedule {
    min_learning_rate: 1e-7 max_learning_rate: 1e-3 soft_start: 0.3 } }
  regularizer { type: L1 weight: 3e-5 }
  optimizer { adam { epsilon: 1e-7 beta1: 0.9 beta2: 0.999 } }
}
eval_config { average_precision_mode: SAMPLE batch_size: 5 matching_iou_threshold: 0.5 }
nms_config { confidence_threshold: 0.001 clustering_iou_threshold: 0.5 top_k: 50 }
augmentation_config {
  hue: 0.1 saturation: 1.5 exposure: 1.5 horizontal_flip: 0.5 jitter: 0.3
  output_width: 64 output_height: 64 output_channel: 3
  randomize_input_shape_period: 2 mosaic_prob: 0.5 mosaic_min_ratio: 0.2
}
dataset_config {
  data_sources { label_directory_path: "ROOT/labels" image_directory_path: "ROOT/images" }
  validation_data_sources { label_directory_path: "ROOT/labels" image_directory_path: "ROOT/images" }
  target_class_mapping { key: "opacity" value: "opacity" }
}
class_weighting_config { class_weighting { key: "opacity" value: 1.5 } }
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Sixteen films with KITTI labels."""
    root = tmp_path_factory.mktemp("yolo")
    write_phantom(root / "siim", images=16, size=100, layout="siim")
    siim2kitti(root / "siim" / "train_image_level.csv", root / "siim" / "train", root / "kitti", pixels=64)
    return root / "kitti" / "formatted"


def spec(root, name="spec.txt", *, training="", network=""):
    path = root / name
    path.write_text(SPEC.replace("ROOT", str(root)).replace("TRAINING", training).replace("NETWORK", network))
    return path


@pytest.fixture(scope="module")
def trained(root):
    torch.manual_seed(0)
    return train_spec(YOLO_V4, spec(root, training="model_ema: true"), root / "results", device="cpu", precision="fp32")


def test_every_field_of_the_spec_reaches_the_job(root):
    job = YOLO_V4.job(open_spec(spec(root, training="model_ema: true"), YOLO_V4.spec), None)
    loss, recipe = job.detector.loss, job.recipe
    assert job.detector.backbone == "cspdarknet_tiny"
    assert job.detector.anchors == (((30.0, 30.0), (40.0, 25.0)), ((10.0, 12.0), (16.0, 14.0)))
    assert job.detector.extend == pytest.approx((0.05, 0.1))
    assert (loss.matching, loss.neutral, loss.box_weight, loss.background_weight) == (0.25, 0.5, 1.0, 2.0)
    assert (loss.class_weight, loss.smoothing, loss.focal) == (3.0, pytest.approx(0.1), None)
    assert loss.class_weights == (1.5,)
    assert isinstance(job.rate, SoftStartCosine)
    assert (job.loop.epochs, job.loop.validate_every, job.loop.ema, job.loop.seed) == (3, 2, 0.999, 42)
    assert (recipe.mosaic, recipe.shape_period, recipe.jitter) == (0.5, 2, pytest.approx(0.3))
    assert recipe.exposure == 1.5
    assert job.optimizer.name == "adam"
    assert job.optimizer.options["betas"] == pytest.approx((0.9, 0.999))
    assert (job.regularizer.kind, job.regularizer.weight) == ("L1", pytest.approx(3e-5))
    assert job.data.learn_difficult is False
    assert job.resized(128, 32).detector.anchors[0] == ((60.0, 15.0), (80.0, 12.5))


@pytest.mark.slow
def test_weights_table_and_status_have_the_names_of_tao(root, trained):
    results = root / "results"
    assert sorted(path.name for path in (results / "weights").iterdir()) == [
        "yolov4_cspdarknet_tiny_epoch_002.safetensors",
        "yolov4_cspdarknet_tiny_epoch_003.safetensors",
    ]
    rows = list(csv.DictReader((results / "yolov4_training_log_cspdarknet_tiny.csv").open()))
    assert list(rows[0]) == ["epoch", "AP_opacity", "loss", "lr", "mAP", "validation_loss"]
    assert [row["mAP"] == "nan" for row in rows] == [True, False, False]
    lines = [json.loads(line) for line in (results / "status.json").read_text().splitlines()]
    assert lines[0]["message"] == "Starting YOLOv4 training."
    assert lines[-1]["status"] == "SUCCESS"


@pytest.mark.slow
def test_a_model_is_evaluated_pruned_and_retrained(root, trained):
    figures = evaluate_spec(YOLO_V4, trained.model, spec(root), device="cpu", precision="fp32")
    assert 0.0 <= figures.average.mean <= 1.0
    pruned, _ = prune_detector(trained.model, root / "pruned.safetensors", threshold=0.97)
    whole, narrow = (sum(p.numel() for p in load_detector(path)[0].parameters()) for path in (trained.model, pruned))
    assert narrow < whole
    again = spec(root, "again.txt", training=f'pruned_model_path: "{pruned}"')
    done = train_spec(YOLO_V4, again, root / "retrained", epochs=1, device="cpu", precision="fp32")
    assert sum(p.numel() for p in load_detector(done.model)[0].parameters()) == narrow


def test_anchors_outside_the_picture_name_the_field(root):
    text = spec(root).read_text().replace("(40.0, 25.0)", "(400.0, 25.0)")
    (root / "wide.txt").write_text(text)
    with pytest.raises(SpecError, match=r"wide.txt, line \d+: .*big_anchor_shape holds \(400, 25\)"):
        YOLO_V4.job(open_spec(root / "wide.txt", YOLO_V4.spec), None)


@pytest.mark.slow
def test_the_commands_of_tao(root, trained, capsys):
    """Evaluation prints five digits, and labels of inference are read again as those of a label folder."""

    def run(*words: object) -> int:
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in ("yolo_v4", *words)])
        return int(end.value.code or 0)

    assert run("evaluate", "-e", spec(root), "-m", trained.model, "-i", root / "images") == 0
    printed = capsys.readouterr().out
    assert re.search(r"\*{31}\nopacity +AP +[\d.]+\n +mAP +[\d.]+\n\*{31}", printed)
    assert run("prune", "-m", trained.model, "-o", root / "small", "-e", spec(root), "-pth", 0.97) == 0
    assert "Pruning ratio (pruned model / original model): 0." in capsys.readouterr().out
    folders = "-o", root / "drawn", "-l", root / "pseudo"
    assert (
        run("inference", "-i", root / "images", *folders, "-e", spec(root), "-m", trained.model, "--min-score", 0.01)
        == 0
    )
    assert len(list((root / "drawn").iterdir())) == 16
    table = read_kitti(root / "pseudo", images=root / "images")
    assert len(table) == 16
