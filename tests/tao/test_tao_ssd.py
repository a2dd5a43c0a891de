"""A spec of SSD as what the rest of the package works with, and every check as one sentence."""

import re
from pathlib import Path

import numpy as np
import pytest

from xraycls.errors import SpecError
from xraycls.loaders.recipes.ssd import SSDRecipe
from xraycls.loaders.recipes.tlt2 import TLT2Recipe
from xraycls.models.detection.base import Suppression
from xraycls.models.detection.ssd import SSD_BACKBONES
from xraycls.models.detection.ssd_loss import SSDLoss
from xraycls.tao.mounts import Mounts, read_mounts
from xraycls.tao.networks.ssd import ssd_job
from xraycls.tao.networks.ssd_checks import check_ssd
from xraycls.tao.networks.ssd_spec import LAYERS, SSDSpec
from xraycls.tao.programs import open_spec
from xraycls.tao.spec import Spec
from xraycls.training.annealing import SoftStartAnnealing
from xraycls.training.detection import Regularizer
from xraycls.training.job import DetectionJob, EvaluationConfig

SPEC = """\
random_seed: 7
ssd_config {
  aspect_ratios_global: "[1.0, 2.0, 0.5, 3.0, 1.0/3.0]"
  scales: "[0.05, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85]"
  two_boxes_for_ar1: true
  variances: "[0.1, 0.1, 0.2, 0.2]"
  arch: "resnet"
  nlayers: 18
  freeze_blocks: 0
  freeze_blocks: 1
}
training_config {
  batch_size_per_gpu: 16
  num_epochs: 80
  learning_rate {
    soft_start_annealing_schedule {
      min_learning_rate: 5e-5
      max_learning_rate: 2e-2
      soft_start: 0.15
      annealing: 0.8
    }
  }
  regularizer { type: L1 weight: 3e-5 }
}
eval_config {
  validation_period_during_training: 10
  batch_size: 8
  matching_iou_threshold: 0.5
}
nms_config {
  confidence_threshold: 0.01
  clustering_iou_threshold: 0.6
  top_k: 200
}
augmentation_config {
  output_width: 320
  output_height: 256
  output_channel: 3
}
dataset_config {
  data_sources {
    label_directory_path: "/workspace/data/labels"
    image_directory_path: "/workspace/data/images"
  }
  target_class_mapping { key: "Opacity" value: "opacity" }
  target_class_mapping { key: "mass" value: "Mass" }
  target_class_mapping { key: "nodule" value: "mass" }
}
"""
FIRST_AUGMENTATION = """\
augmentation_config {
  preprocessing {
    output_image_width: 512
    output_image_height: 384
    output_image_channel: 3
    crop_right: 512
    min_bbox_width: 1.0
    min_bbox_height: 2.0
  }
  spatial_augmentation {
    hflip_probability: 0.5
    zoom_min: 0.5
    zoom_max: 2.0
    translate_max_x: 8.0
    translate_max_y: 4.0
  }
  color_augmentation { hue_rotation_max: 25.0 contrast_scale_max: 0.25 contrast_center: 0.5 }
}
"""
FIRST_SPEC = re.sub(
    r"label_directory_path: .*\n", 'tfrecords_path: "/workspace/records/train*"\n', SPEC
).replace('arch: "resnet"', 'arch: "resnet" loss_loc_weight: 0.8 focal_loss_alpha: 0.25 focal_loss_gamma: 2.0').replace(
    "dataset_config {", "dataset_config { image_extension: '.png' validation_fold: 0"
)  # fmt: skip
FIRST_SPEC = re.sub(r"augmentation_config \{[^}]*\}\n", FIRST_AUGMENTATION, FIRST_SPEC)


@pytest.fixture
def opened(tmp_path):
    def write(text: str) -> Spec[SSDSpec]:
        path = tmp_path / "spec.txt"
        path.write_text(text)
        return open_spec(path, SSDSpec)

    return write


def test_a_spec_of_tao_5_as_a_job(opened):
    spec = opened(SPEC)
    job = ssd_job(spec, Mounts())
    assert (spec.dialect, job.loop.seed) == ("TAO 5", 7)
    detector = job.detector
    assert (detector.network, detector.backbone, detector.classes) == ("ssd", "resnet18", ("mass", "opacity"))
    assert (detector.height, detector.width, detector.mean) == (256, 320, (103.939, 116.779, 123.68))
    assert (job.freeze_blocks, job.freeze_bn, detector.prediction_channels) == ((0, 1), False, 0)
    assert job.data.classes == ("mass", "opacity")
    assert job.data.mapping == {"opacity": "opacity", "mass": "mass", "nodule": "mass"}
    assert (job.data.validation, job.data.validation_fold, job.data.val_fraction) == ((), None, 0)
    assert (job.batch_size, job.loop.epochs, job.checkpoint_every) == (16, 80, 1)
    assert job.rate == SoftStartAnnealing(*map(f32, (5e-5, 2e-2, 0.15, 0.8)))
    assert job.rate.soft_start == 0.15000000596046448
    assert detector.loss == SSDLoss(positive=0.5, negative=0.5, neg_pos=3, box_weight=1, focal=None)
    assert (job.loop.patience, job.loop.monitor, job.tensorboard) == (None, "mAP", False)
    assert job.regularizer == Regularizer("L1", f32(3e-5))
    assert (job.loop.validate_every, job.evaluation) == (10, EvaluationConfig(batch_size=8, mode="sample", iou=0.5))
    assert detector.suppression == Suppression(f32(0.01), f32(0.6), 200)
    recipe = job.recipe
    assert isinstance(recipe, SSDRecipe)
    assert (recipe.canvas.shape, recipe.canvas.fill) == ((256, 320), 115)
    assert (recipe.crop_scale, recipe.crop_aspect, recipe.zoom_out) == ((0.3, 1), (0.5, 2), (1, 4))
    assert (recipe.flip, recipe.brightness, recipe.contrast, recipe.rounded) == (0, 0, 0, True)
    assert DetectionJob.parse(job.described()) == job


def f32(value: float) -> float:
    """The value as protobuf keeps it in a float field."""
    return float(np.float32(value))


def test_a_spec_of_tlt_2_in_our_terms(opened):
    spec = opened(FIRST_SPEC)
    setup = ssd_job(spec, read_mounts(["/workspace/records=/here/records"]))
    assert spec.dialect == "TLT 2"
    assert (setup.detector.loss.focal, setup.detector.loss.box_weight) == ((0.25, 2.0), f32(0.8))
    assert (setup.data.validation_fold, setup.data.image_extension) == (0, "png")
    source = setup.data.training[0]
    assert (source.records, source.labels) == (Path("/here/records/train*"), None)
    assert source.images == Path("/workspace/data/images")
    recipe = setup.recipe
    assert isinstance(recipe, TLT2Recipe)
    assert (recipe.canvas.shape, recipe.canvas.fill) == ((384, 512), 0)
    assert recipe.zoom == (0.5, 2.0)  # a spec's ratio of 2 makes the picture half as large
    assert (recipe.shift, recipe.smallest) == ((8, 4), (1, 2))
    assert (recipe.horizontal_flip, recipe.vertical_flip, recipe.contrast, recipe.contrast_center) == (
        0.5,
        0,
        0.25,
        0.5,
    )


def test_what_a_spec_says_of_augmentation_reaches_the_recipe(opened):
    text = """output_channel: 1
      random_crop_min_scale: 0.5 random_crop_max_ar: 1.5 zoom_out_max_scale: 2
      brightness: 32 contrast: 0.5 random_flip: 0.5 image_mean { key: "l" value: 100 }"""
    setup = ssd_job(opened(SPEC.replace("output_channel: 3", text)))
    assert isinstance(setup.recipe, SSDRecipe)
    assert (setup.recipe.crop_scale, setup.recipe.crop_aspect, setup.recipe.zoom_out) == ((0.5, 1), (0.5, 1.5), (1, 2))
    assert (setup.recipe.flip, setup.recipe.brightness, setup.recipe.contrast) == (0.5, 32, 0.5)
    assert (setup.detector.mean, setup.recipe.canvas.fill) == ((100.0,), 100)


def test_a_dssd_is_told_apart_and_keeps_its_names(opened):
    text = SPEC.replace("ssd_config", "dssd_config").replace("nlayers: 18", "nlayers: 18\n pred_num_channels: 512")
    setup = ssd_job(opened(text))
    assert (setup.detector.network, setup.detector.prediction_channels) == ("dssd", 512)
    with pytest.raises(SpecError, match=r"dssd_config\.nlayers is 17; it must be one of 10, 18, 34, 50, 101"):
        ssd_job(opened(text.replace("nlayers: 18", "nlayers: 17")))


def test_the_seeds_anchors_are_32_760(opened):
    anchors = ssd_job(opened(SPEC)).detector.anchors
    assert anchors.aspect_ratios == ((1.0, 2.0, 0.5, 3.0, 1.0 / 3.0),) * 6
    maps = [(side, side) for side in (64, 32, 16, 8, 4, 2)]
    assert len(anchors.boxes((512, 512), maps)) == 32_760


def test_lists_of_every_form_reach_the_anchors(opened):
    ratios = "[[1.0, 2.0], [1.0], [1.0], [1.0], [1.0], [1.0, 1.0/2]]"
    steps, offsets = "[8, (16, 32), 32, 64, 100, 300]", "[.5, (.25, .75), .5, .5, .5, .5]"
    scales = f"min_scale: 0.25 max_scale: 1.75 steps: '{steps}' offsets: '{offsets}'"
    text = re.sub("  scales.*", scales, SPEC).replace(
        "aspect_ratios_global", f"aspect_ratios: '{ratios}' aspect_ratios_global"
    )
    anchors = ssd_job(opened(text)).detector.anchors
    assert anchors.scales == (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    assert anchors.aspect_ratios == ((1.0, 2.0), (1.0,), (1.0,), (1.0,), (1.0,), (1.0, 0.5))
    assert (anchors.steps, anchors.offsets[1]) == ((8, (16, 32), 32, 64, 100, 300), (0.25, 0.75))


def test_a_value_can_be_changed_before_use(opened):
    spec = opened(SPEC).changed("training_config.num_epochs", 3).changed("augmentation_config.output_width", 64)
    setup = ssd_job(spec)
    assert (setup.loop.epochs, setup.detector.width) == (3, 64)


def test_the_seeds_specs_are_set_up(shared):
    for name, batch, annealing in (("ssd_train", 16, (0.15, 0.8)), ("ssd_retrain", 32, (0.1, 0.6))):
        path = shared / "reference" / "seed_specs" / f"{name}.txt"
        setup = ssd_job(open_spec(path, SSDSpec), read_mounts(["/workspace/tlt-experiments=/here"]))
        assert (setup.batch_size, setup.data.classes) == (batch, ("opacity",))
        assert (setup.rate.soft_start, setup.rate.annealing) == tuple(map(f32, annealing))
        assert setup.data.training[0].records == Path("/here/data/tfrecords/kitti_trainval/kitti_trainval*")


def test_the_backbones_are_those_that_can_be_built():
    numbered = {f"{arch}{layers}" for arch, choices in LAYERS.items() for layers in choices}
    assert numbered | {arch for arch, choices in LAYERS.items() if not choices} == set(SSD_BACKBONES)


def test_a_variable_that_is_not_set_is_told_with_its_line(opened, monkeypatch):
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(SpecError, match=r"line 42: .*variable \$NOWHERE .* is not set") as caught:
        ssd_job(opened(SPEC.replace("/workspace/data/labels", "$NOWHERE/labels")))
    assert caught.value.field == "dataset_config.data_sources[0].label_directory_path"


RATE = "training_config.learning_rate.soft_start_annealing_schedule"
WRONG = [
    # what must be there
    (r"ssd_config \{[^}]*\}\n", "", None, "ssd_config", "is missing"),
    (r"training_config \{.*?\n\}\n", "", None, "training_config", "is missing"),
    (r"  learning_rate \{.*?\n  \}\n", "", 12, "training_config.learning_rate", "is missing"),
    (r"    soft_start_annealing_schedule \{.*?\n    \}\n", "", 15, RATE, "is missing"),
    (r"soft_start_annealing_schedule \{.*?\}", "soft_start_cosine_annealing_schedule { soft_start: .3 }", 16,
     "training_config.learning_rate.soft_start_cosine_annealing_schedule", "is not for SSD"),
    (r"  regularizer.*\n", "", 12, "training_config.regularizer", "is missing"),
    (r"eval_config \{[^}]*\}\n", "", None, "eval_config", "is missing"),
    (r"nms_config \{[^}]*\}\n", "", None, "nms_config", "is missing"),
    (r"augmentation_config \{[^}]*\}\n", "", None, "augmentation_config", "is missing"),
    (r"dataset_config \{.*", "", None, "dataset_config", "is missing"),
    (r"  target_class_mapping.*\n", "", 40, "dataset_config.target_class_mapping", "is missing"),
    (r"  data_sources \{[^}]*\}\n", "", 40, "dataset_config.data_sources", "is missing"),
    # the network
    ('arch: "resnet"', 'arch: "alexnet"', 7, "ssd_config.arch", "is 'alexnet'; it must be one of resnet, vgg,"),
    ('  arch: "resnet"\n', "", 2, "ssd_config.arch", "is missing; it must be one of resnet"),
    ("nlayers: 18", "nlayers: 20", 8, "ssd_config.nlayers", "is 20; it must be one of 10, 18, 34, 50, 101"),
    ("nlayers: 18", "pred_num_channels: 128", 8, "ssd_config.pred_num_channels",
     "is 128; it must be one of 0, 256, 512, 1024"),
    ("nlayers: 18", "nlayers: 18 alpha: -1", 8, "ssd_config.alpha", "is -1; it must be 0 or more"),
    ("nlayers: 18", "nlayers: 18 neg_pos_ratio: nan", 8, "ssd_config.neg_pos_ratio", "is nan; it must be 0 or more"),
    ("nlayers: 18", "nlayers: 18 pos_iou_thresh: 2", 8, "ssd_config.pos_iou_thresh", "is 2; it must be 0 to 1"),
    ("nlayers: 18", "nlayers: 18 neg_iou_thresh: .6", 8, "ssd_config.neg_iou_thresh", "is above pos_iou_thresh"),
    # default boxes
    (r"  aspect_ratios_global.*\n", "", 2, "ssd_config.aspect_ratios_global", "is missing. Give it, or aspect_ratios"),
    ("1.0/3.0", "1.0/0", 3, "ssd_config.aspect_ratios_global", "can't be read: a number is divided by 0"),
    ("1.0/3.0", "print(1)", 3, "ssd_config.aspect_ratios_global", "can't be read: 'p' can't stand in a list"),
    ("1.0/3.0", "-2", 3, "ssd_config.aspect_ratios_global", "has -2; every number must be above 0"),
    (r"\[1.0, 2.0[^]]*\]", "[]", 3, "ssd_config.aspect_ratios_global", "has 0 entries; it must have one or more"),
    ("aspect_ratios_global: .*", "aspect_ratios: '[[1], [1]]'", 3, "ssd_config.aspect_ratios",
     "has 2 entries; it must have 6"),
    ("aspect_ratios_global: .*", "aspect_ratios: '[[1], [1], [], [1], [1], [1]]'", 3, "ssd_config.aspect_ratios",
     "has an empty list"),
    ("0.05, ", "", 4, "ssd_config.scales", "has 6 entries; it must have 7"),
    ("0.05, ", "0, ", 4, "ssd_config.scales", "has 0; every number must be above 0"),
    (r"  scales.*\n", "", 2, "ssd_config.scales", "is missing. Give it, or min_scale and max_scale"),
    (r"scales.*", "min_scale: .5 max_scale: .2", 4, "ssd_config.min_scale", "must be above 0, and not above max_scale"),
    ("two_boxes_for_ar1: true", "steps: '[8, 16]'", 5, "ssd_config.steps", "has 2 entries; it must have 6"),
    ("two_boxes_for_ar1: true", "offsets: '[.5, .5, .5, .5, .5, 1]'", 5, "ssd_config.offsets",
     "has 1; every number must lie between 0 and 1"),
    (r"  variances.*\n", "", 2, "ssd_config.variances", "is missing"),
    ("0.1, 0.1, 0.2, 0.2", "0.1, 0.1, 0.2", 6, "ssd_config.variances", "has 3 entries; it must have 4"),
    # training
    ("batch_size_per_gpu: 16", "", 12, "training_config.batch_size_per_gpu", "is missing; it must be 1 or more"),
    ("batch_size_per_gpu: 16", "batch_size_per_gpu: 0", 13, "training_config.batch_size_per_gpu",
     "is 0; it must be 1 or more"),
    ("num_epochs: 80", "num_epochs: 0", 14, "training_config.num_epochs", "is 0; it must be 1 or more"),
    ("min_learning_rate: 5e-5", "min_learning_rate: 0", 17, f"{RATE}.min_learning_rate", "is 0; it must be above 0"),
    ("max_learning_rate: 2e-2", "max_learning_rate: -1", 18, f"{RATE}.max_learning_rate", "is -1; it must be above 0"),
    ("soft_start: 0.15", "soft_start: 0", 19, f"{RATE}.soft_start", "is 0; it must lie between 0 and 1"),
    ("soft_start: 0.15", "soft_start: 1", 19, f"{RATE}.soft_start", "is 1; it must lie between 0 and 1"),
    ("soft_start: 0.15", "soft_start: 0.9", 19, f"{RATE}.soft_start", "must end before annealing begins"),
    ("annealing: 0.8", "annealing: 1.0", 20, f"{RATE}.annealing", "is 1; it must lie between 0 and 1"),
    ("weight: 3e-5", "weight: 1", 23, "training_config.regularizer.weight", "is 1; it must lie between 0 and 1"),
    ("weight: 3e-5", "", 23, "training_config.regularizer.weight", "is missing; it must lie between 0 and 1"),
    ("num_epochs: 80", "num_epochs: 80 early_stopping { monitor: 'lss' patience: 1 }", 14,
     "training_config.early_stopping.monitor", "is 'lss'; it must be one of loss, validation_loss, val_loss"),
    ("num_epochs: 80", "num_epochs: 80 early_stopping { monitor: 'loss' patience: 0 }", 14,
     "training_config.early_stopping.patience", "is 0; it must be 1 or more"),
    ("num_epochs: 80", "num_epochs: 80 early_stopping { monitor: 'loss' min_delta: -1 patience: 1 }", 14,
     "training_config.early_stopping.min_delta", "is -1; it must be 0 or more"),
    ("num_epochs: 80", "num_epochs: 80 early_stopping { monitor: 'val_loss' patience: 1 }", 14,
     "training_config.early_stopping.monitor", "is 'val_loss', but there is no validation_data_sources"),
    # evaluation
    ("validation_period_during_training: 10", "", 25, "eval_config.validation_period_during_training", "is missing"),
    ("batch_size: 8", "batch_size: 0", 27, "eval_config.batch_size", "is 0; it must be 1 or more"),
    ("matching_iou_threshold: 0.5", "matching_iou_threshold: 1", 28, "eval_config.matching_iou_threshold",
     "is 1; it must lie between 0 and 1"),
    ("confidence_threshold: 0.01", "confidence_threshold: 0", 31, "nms_config.confidence_threshold",
     "is 0; it must lie between 0 and 1"),
    ("clustering_iou_threshold: 0.6", "clustering_iou_threshold: 1.5", 32, "nms_config.clustering_iou_threshold",
     "is 1.5; it must lie between 0 and 1"),
    ("top_k: 200", "top_k: 0", 33, "nms_config.top_k", "is 0; it must be 1 or more"),
    # images
    ("output_width: 320", "output_width: 32", 36, "augmentation_config.output_width", "is 32; it must be above 32"),
    ("output_height: 256", "output_height: -256", 37, "augmentation_config.output_height", "is -256; it must be above"),
    ("output_channel: 3", "output_channel: 2", 38, "augmentation_config.output_channel",
     "is 2; it must be one of 1, 3"),
    ("output_channel: 3", "output_channel: 3 random_flip: 1.5", 38, "augmentation_config.random_flip",
     "is 1.5; it must be 0 to 1"),
    ("output_channel: 3", "output_channel: 3 zoom_out_min_scale: 0.5", 38, "augmentation_config.zoom_out_min_scale",
     "is 0.5; it must be 1 or more"),
    ("output_channel: 3", "output_channel: 3 random_crop_max_scale: 0.2", 35,
     "augmentation_config.random_crop_min_scale", "is above random_crop_max_scale"),
    ("output_channel: 3", "output_channel: 3 image_mean { key: 'b' value: 1 }", 38, "augmentation_config.image_mean",
     "has no g and no r"),
    # data
    (r"    image_directory_path.*\n", "", 41, "dataset_config.data_sources[0].image_directory_path",
     "is missing. Give it, or tfrecords_path"),
    (r"  target_class_mapping \{ key: \"mass\"", "validation_data_sources { image_directory_path: 'a' }\n\\g<0>", 46,
     "dataset_config.validation_data_sources[0].label_directory_path", "is missing. Give it, or tfrecords_path"),
    ("nodule", "opacity", 45, "dataset_config.target_class_mapping",
     "gives 'opacity' two classes: case makes no difference"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "field", "message"), WRONG, ids=[f"{w[3]} {w[4][:30]}" for w in WRONG])
def test_every_check_is_one_sentence_with_line_and_field(opened, old, new, line, field, message):
    several = re.DOTALL if ".*?" in old or old.endswith("{.*") else 0
    text = re.sub(old, new, SPEC, count=0 if "target_class" in field else 1, flags=several)
    assert text != SPEC
    spec = opened(text)
    with pytest.raises(SpecError) as caught:
        check_ssd(spec)
    place = f"{spec.path}, line {line}" if line else str(spec.path)
    assert str(caught.value).startswith(f"{place}: {field} {message}")
    assert (caught.value.line, caught.value.field) == (line, field)


FIRST_WRONG = [
    ("focal_loss_alpha: 0.25", "", "ssd_config.focal_loss_alpha", "is missing; it must lie between 0 and 1"),
    ("focal_loss_gamma: 2.0", "focal_loss_gamma: -1", "ssd_config.focal_loss_gamma", "is -1; it must be 0 or more"),
    ("loss_loc_weight: 0.8", "loss_loc_weight: -1", "ssd_config.loss_loc_weight", "is -1; it must be 0 or more"),
    (r"  preprocessing \{[^}]*\}\n", "", "augmentation_config.preprocessing", "is missing"),
    ("output_image_width: 512", "", "augmentation_config.preprocessing.output_image_width", "is missing; it must be"),
    ("output_image_channel: 3", "output_image_channel: 4", "augmentation_config.preprocessing.output_image_channel",
     "is 4; it must be one of 1, 3"),
    ("hflip_probability: 0.5", "hflip_probability: 5", "augmentation_config.spatial_augmentation.hflip_probability",
     "is 5; it must be 0 to 1"),
    ("zoom_max: 2.0", "zoom_max: 0.4", "augmentation_config.spatial_augmentation.zoom_min", "is above zoom_max"),
    ("contrast_center: 0.5", "contrast_center: 128", "augmentation_config.color_augmentation.contrast_center",
     "is 128; it must be 0 to 1"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "field", "message"), FIRST_WRONG, ids=[w[2] for w in FIRST_WRONG])
def test_checks_of_tlt_2s_fields(opened, old, new, field, message):
    text = re.sub(old, new, FIRST_SPEC)
    assert text != FIRST_SPEC
    with pytest.raises(SpecError) as caught:
        check_ssd(opened(text))
    assert f": {field} {message}" in str(caught.value)
    assert (caught.value.line or 0) > 1


def test_validation_loss_needs_an_evaluation_every_epoch(opened):
    text = SPEC.replace("num_epochs: 80", "num_epochs: 80 early_stopping { monitor: 'val_loss' patience: 2 }").replace(
        "  data_sources {", "  validation_data_sources { tfrecords_path: '/v/*' }\n  data_sources {"
    )
    with pytest.raises(SpecError, match="so validation_period_during_training must be 1"):
        check_ssd(opened(text))
    setup = ssd_job(opened(text.replace("training: 10", "training: 1")))
    assert (setup.loop.monitor, setup.loop.higher_is_better, setup.loop.patience) == ("loss", False, 2)
    assert setup.data.validation[0].records == Path("/v/*")
