"""A spec of Faster R-CNN in any dialect as a job."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.tao.test_tao_networks import TLT2_FASTER_RCNN
from tests.tao.test_tao_rules import FASTER_RCNN
from xraycls.data.box_sources import BoxSource, read_boxes
from xraycls.errors import DataError, SpecError, UsageError
from xraycls.loaders.recipes.detectnet import DetectNetRecipe, Placement
from xraycls.loaders.views import Canvas
from xraycls.models.detection.base import Suppression
from xraycls.models.detection.faster_rcnn_loss import FasterRCNNLoss
from xraycls.models.detection.proposals import ProposalSettings
from xraycls.tao.networks.faster_rcnn import FASTER_RCNN as FASTER_RCNN_NETWORK
from xraycls.tao.networks.faster_rcnn import faster_rcnn_job, iou_thresholds
from xraycls.tao.networks.faster_rcnn_spec import FasterRCNNSpec
from xraycls.tao.programs import open_spec
from xraycls.tao.report import mapping_report
from xraycls.training.annealing import ExponentialSteps, SoftStartSteps
from xraycls.training.detection import Regularizer
from xraycls.training.job import DetectionJob, EvaluationConfig
from xraycls.training.optimizers import OptimizerConfig


@pytest.fixture
def job_of(tmp_path):
    def build(text: str = FASTER_RCNN, *changes: tuple[str, str]) -> DetectionJob:
        for old, new in changes:
            assert text.count(old) >= 1, old
            text = text.replace(old, new)
        path = tmp_path / "spec.txt"
        path.write_text(text)
        return faster_rcnn_job(open_spec(path, FasterRCNNSpec))

    return build


def test_the_detector_of_a_spec(job_of):
    detector = job_of().detector
    assert detector.network == "faster_rcnn"
    assert detector.backbone == "resnet18"
    assert detector.classes == ("car",)
    assert (detector.height, detector.width, detector.channel_order) == (384, 1248, "bgr")
    assert detector.mean == pytest.approx((103.939, 116.779, 123.68))
    assert (detector.scales, detector.ratios) == ((64.0,), (1.0,))
    assert detector.spread == (10.0, 10.0, 5.0, 5.0)
    assert detector.proposals == ProposalSettings(6000, 300, pytest.approx(0.7))
    assert detector.suppression == Suppression(pytest.approx(1e-4), pytest.approx(0.3), 100)
    assert detector.loss == FasterRCNNLoss(
        ProposalSettings(12000, 2000, pytest.approx(0.7)), pytest.approx(0.7), pytest.approx(0.3)
    )


@pytest.mark.parametrize(
    ("arch", "backbone"),
    [("vgg:16", "vgg16"), ("darknet:53", "darknet53"), ("efficientnet:b3", "efficientnet_b3"), ("googlenet",) * 2],
)
def test_names_of_backbones(job_of, arch, backbone):
    assert (
        job_of(FASTER_RCNN, ("resnet:18", arch), ("freeze_blocks: 0", "freeze_blocks: 1")).detector.backbone == backbone
    )


def test_options_of_the_network(job_of):
    detector = job_of(
        FASTER_RCNN,
        ("image_channel_order: 'bgr'", "image_channel_order: 'rgb'"),
        ("image_scaling_factor: 1.0", "image_scaling_factor: 58.5"),
        (
            "rpn_stride: 16",
            "rpn_stride: 16 use_bias: true all_projections: true use_pooling: true dropout_rate: 0.25 "
            "drop_connect_rate: 0.5 roi_pooling_config { pool_size: 5 pool_size_2x: true }",
        ),
        ("std_scaling: 1.0", "std_scaling: 2.0 gt_as_roi: true classifier_min_overlap: 0.125"),
        ("lambda_cls_class: 1.0", "lambda_cls_class: 4.0"),
    ).detector
    assert detector.mean == pytest.approx((123.68, 116.779, 103.939))
    assert (detector.scaling, detector.std_scaling, detector.channel_order) == (58.5, 2.0, "rgb")
    assert (detector.use_bias, detector.all_projections, detector.use_pooling) == (True, True, True)
    assert (detector.dropout, detector.drop_connect) == (0.25, 0.5)
    assert (detector.pool_size, detector.pool_size_2x) == (5, True)
    assert (detector.loss.gt_as_roi, detector.loss.roi_negative, detector.loss.roi_class_weight) == (True, 0.125, 4.0)


def test_training_and_evaluation(job_of):
    job = job_of(FASTER_RCNN, ("num_epochs: 12", "num_epochs: 12 pretrained_weights: '/data/resnet18.hdf5'"))
    assert (job.batch_size, job.loop.epochs, job.loop.monitor, job.checkpoint_every) == (1, 12, "mAP", 1)
    assert job.regularizer == Regularizer("L2", pytest.approx(1e-4))
    assert job.optimizer == OptimizerConfig("sgd", options={"momentum": pytest.approx(0.9), "nesterov": False})
    assert job.rate == ExponentialSteps(pytest.approx(1e-5), 1.0, 30.0)
    assert job.evaluation == EvaluationConfig(batch_size=1, mode="integrate", iou=0.5, rule="voc")
    assert (job.freeze_blocks, job.freeze_bn) == ((0,), False)
    assert job.weights == Path("/data/resnet18.hdf5")
    assert [source.records for source in job.data.training] == [Path("/data/train*")]
    assert DetectionJob.parse(job.described()) == job


def test_a_pruned_model_goes_before_pretrained_weights(job_of):
    both = "num_epochs: 12 pretrained_weights: '/a.hdf5' retrain_pruned_model: '/b.hdf5'"
    assert job_of(FASTER_RCNN, ("num_epochs: 12", both)).weights == Path("/b.hdf5")


def test_optimisers_have_keras_constants(job_of):
    adam = "optimizer { adam { beta_1: 0.5 beta_2: 0.75 epsilon: 0.1 amsgrad: true } }"
    job = job_of(FASTER_RCNN, ("optimizer { sgd { momentum: 0.9 } }", adam))
    assert job.optimizer == OptimizerConfig("adam", options={"betas": (0.5, 0.75), "eps": 1e-7, "amsgrad": True})
    job = job_of(FASTER_RCNN, ("optimizer { sgd { momentum: 0.9 } }", "optimizer { rmsprop { lr: 1 } }"))
    assert job.optimizer == OptimizerConfig("rmsprop", options={"alpha": 0.9, "eps": 1e-7, "momentum": 0.0})


def test_a_soft_start_and_the_decay_of_an_optimiser(job_of):
    soft = "soft_start { base_lr: 0.5 start_lr: 0.25 soft_start: 0.125 annealing_points: 0.5 annealing_divider: 2 }"
    job = job_of(
        FASTER_RCNN,
        ("step { base_lr: 1e-5 gamma: 1.0 step_size: 30 }", soft),
        ("sgd { momentum: 0.9 }", "sgd { momentum: 0.9 decay: 0.5 }"),
    )
    assert job.rate == SoftStartSteps(0.25, 0.5, 0.125, (0.5,), 2.0, decay=0.5)
    assert job.rate.at(50, 100) == pytest.approx(0.5 / (1 + 0.5 * 50))


def test_early_stopping_watches_the_loss(job_of):
    stop = "num_epochs: 12 early_stopping { monitor: 'loss' min_delta: 0.25 patience: 3 }"
    loop = job_of(FASTER_RCNN, ("num_epochs: 12", stop)).loop
    assert (loop.monitor, loop.higher_is_better, loop.patience, loop.min_delta) == ("train_loss", False, 3, 0.25)


def test_pictures_change_only_where_augmentation_is_enabled(job_of):
    spatial = "spatial_augmentation { hflip_probability: 0.5 vflip_probability: 1 zoom_min: 0.5 zoom_max: 2 }"
    text = FASTER_RCNN.replace("output_image_channel: 3 }", f"output_image_channel: 3 }} {spatial}")
    still = job_of(text).recipe
    assert (still.horizontal_flip, still.vertical_flip, still.zoom, still.changes_greys) == (0, 0, (1, 1), False)
    moved = job_of(text, ("num_epochs: 12", "num_epochs: 12 enable_augmentation: true")).recipe
    assert (moved.horizontal_flip, moved.vertical_flip, moved.zoom) == (0.5, 0, (0.5, 2))
    turned = job_of(
        text,
        ("num_epochs: 12", "num_epochs: 12 enable_augmentation: true"),
        ("zoom_max: 2", "zoom_max: 2 rotate_rad_max: 0.5"),
    ).recipe
    assert (turned.rotation, turned.rotation_probability) == (0.5, 1.0)


def test_a_range_of_overlaps(job_of, tmp_path):
    steps = "gt_matching_iou_threshold_range { start: 0.5 end: 1.0 step: 0.125 }"
    job_of(FASTER_RCNN, ("gt_matching_iou_threshold: 0.5", steps))
    spec = open_spec(tmp_path / "spec.txt", FasterRCNNSpec)
    assert iou_thresholds(spec.config) == (0.5, 0.625, 0.75, 0.875)


def test_tlt_2_gives_the_same_kind_of_job(job_of):
    job = job_of(TLT2_FASTER_RCNN)
    assert job.detector.backbone == "resnet18"
    assert not job.detector.use_bias
    assert job.detector.scales == (64.0, 128.0)
    assert job.data.validation_fold == 0
    assert job.optimizer.name == "adam"
    assert job.batch_size == 16


OPEN_SIZE = (
    ("size_height_width { height: 384 width: 1248 }", "size_min { min: 600 }"),
    ("output_image_width: 1248 output_image_height: 384 ", "output_image_min: 600 output_image_max: 1000 "),
)


def test_an_input_of_no_fixed_size_is_a_square_that_keeps_the_aspect(job_of):
    flip = ("3 }", "3 } spatial_augmentation { hflip_probability: 0.25 zoom_min: 1 zoom_max: 2 rotate_rad_max: 1 }")
    job = job_of(FASTER_RCNN, *OPEN_SIZE, flip, ("num_epochs: 12", "num_epochs: 12 enable_augmentation: true"))
    detector = job.detector
    assert (detector.height, detector.width, detector.sides) == (1000, 1000, (600, 1000))
    # As in TAO it is flipped alone.
    assert job.recipe == DetectNetRecipe(Canvas(1000, 1000), Placement(sides=(600, 1000)), 0.25, smallest=(0, 0))
    smaller = job.resized(500, 500)
    assert smaller.detector.sides == smaller.recipe.placement.sides == (300, 500)
    assert job_of(FASTER_RCNN, *OPEN_SIZE).recipe.horizontal_flip == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("output_image_min: 600", "output_image_min: 512",
         "preprocessing.output_image_min is 512, but the network's is 600"),
        ("output_image_max: 1000", "", "preprocessing.output_image_max is 0; it must be 600 or more"),
        ("size_min { min: 600 }", "size_min { }", "size_height_width leaves the size of the input open"),
        ("size_min { min: 600 }", "size_min { min: 100 }", "size_min.min is 100; it must be 160 or more"),
    ],
)  # fmt: skip
def test_an_input_of_no_fixed_size_needs_both_bounds(job_of, old, new, message):
    with pytest.raises(SpecError, match=re.escape(message)):
        job_of(FASTER_RCNN, *OPEN_SIZE, (old, new))


def test_pictures_come_onto_the_canvas_as_preprocessing_says(job_of):
    assert job_of().recipe.placement == Placement(resize=False)  # as in TAO, where pictures must have the size
    crop = "crop_left: 10 crop_top: 20 crop_right: 522 crop_bottom: 404 scale_width: 0.5 enable_auto_resize: true"
    job = job_of(FASTER_RCNN, ("output_image_channel: 3", f"output_image_channel: 3 {crop}"))
    assert job.recipe.placement == Placement((10, 20, 522, 404), True, (0.5, 1.0))
    assert DetectionJob.parse(job.described()) == job


def test_a_model_of_another_input_is_judged_by_as_much_of_every_picture(job_of, tmp_path):
    job_of()
    view = FASTER_RCNN_NETWORK.view(open_spec(tmp_path / "spec.txt", FasterRCNNSpec), Canvas(192, 624))
    (matrix,) = view.evaluation_views([(1248, 384)]).matrices
    assert (matrix @ [624, 192, 1]).tolist() == [1248, 384]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "crop_left: 500 crop_right: 400 crop_bottom: 9",
            "crop_left is 500; it must be below crop_right, which is 400",
        ),
        ("crop_right: 400", "crop_bottom is missing; a crop needs all four sides"),
        ("scale_width: -1", "scale_width is -1; it must be 0 or more"),
        ("min_bbox_width: -1", "min_bbox_width is -1; it must be 0 or more"),
    ],
)
def test_mistakes_of_preprocessing_are_named(job_of, given, message):
    with pytest.raises(SpecError, match=rf"spec.txt, line \d+: augmentation_config.preprocessing.{re.escape(message)}"):
        job_of(FASTER_RCNN, ("output_image_channel: 3", f"output_image_channel: 3 {given}"))


def test_mistakes_of_augmentation_are_named(job_of):
    for given, message in (
        ("spatial_augmentation { hflip_probability: 2 }", "spatial_augmentation.hflip_probability is 2; it must be 0"),
        ("spatial_augmentation { zoom_min: 2 zoom_max: 1 }", "spatial_augmentation.zoom_min is above zoom_max"),
        ("color_augmentation { contrast_scale_max: -1 }", "color_augmentation.contrast_scale_max is -1; it must"),
    ):
        with pytest.raises(SpecError, match=re.escape(f"augmentation_config.{message}")):
            job_of(FASTER_RCNN, ("output_image_channel: 3 }", f"output_image_channel: 3 }} {given}"))


def test_an_activation_is_of_efficientnet_alone(job_of):
    asked = ("rpn_stride: 16", "rpn_stride: 16 activation { activation_type: 'relu' }")
    assert job_of(FASTER_RCNN, asked, ("resnet:18", "efficientnet:b0")).detector.activation == "relu"
    assert job_of(FASTER_RCNN, asked, ("resnet:18", "darknet:19")).detector.activation is None
    with pytest.raises(SpecError, match="activation_type is 'gelu'; it must be one of relu, swish"):
        job_of(FASTER_RCNN, ("rpn_stride: 16", "rpn_stride: 16 activation { activation_type: 'gelu' }"))


def test_a_picture_with_too_many_objects_is_named(job_of, tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    for folder in (images, labels):
        folder.mkdir()
    Image.new("L", (64, 64)).save(images / "film.png")
    (labels / "film.txt").write_text("car 0 0 0 8 8 30 30 0 0 0 0 0 0 0\n" * 3)
    data = job_of(FASTER_RCNN, ("max_objects_num_per_image: 100", "max_objects_num_per_image: 2")).data
    data = replace(data, training=(BoxSource(labels=labels, images=images),))
    with pytest.raises(DataError, match=r"film.* has 3 objects, and at most 2 are allowed. Raise max_objects_num"):
        read_boxes(data)
    assert len(read_boxes(replace(data, most_objects=3)).training) == 1


def test_files_have_the_names_of_tao(job_of, tmp_path):
    def files(folder, *changes):
        job_of(FASTER_RCNN, *changes)
        return FASTER_RCNN_NETWORK.results(open_spec(tmp_path / "spec.txt", FasterRCNNSpec), None, folder)

    assert files(Path("/r")).weights(12, ".tlt") == Path("/r/frcnn_resnet_18.epoch_12.tlt")
    named = ("num_epochs: 12", "num_epochs: 12 output_model: '/out/frcnn_kitti.tlt'")
    assert files(None, named).weights(12, ".tlt") == Path("/out/frcnn_kitti.epoch12.tlt")
    assert files(None, named).folder == Path("/out/frcnn_kitti")
    assert files(Path("/r"), named).weights(12, ".tlt") == Path("/r/frcnn_kitti.epoch12.tlt")
    assert files(None, named).log is None
    with pytest.raises(UsageError, match="Give a folder with -r, or output_model in the spec"):
        files(None)


def test_the_model_to_go_on_from_tells_its_epoch(job_of, tmp_path):
    def resumed(name):
        job_of(FASTER_RCNN, ("num_epochs: 12", f"num_epochs: 12 resume_from_model: '{name}'"))
        return FASTER_RCNN_NETWORK.initial_epoch(open_spec(tmp_path / "spec.txt", FasterRCNNSpec))

    assert resumed("/r/frcnn_resnet_18.epoch_3.hdf5") == 4
    assert resumed("/r/frcnn_kitti.epoch12.tlt") == 13
    assert resumed("") == 1
    with pytest.raises(SpecError, match=r"spec.txt, line \d+: .*resume_from_model doesn't tell the epoch"):
        resumed("/r/frcnn.hdf5")


def test_the_older_name_of_a_backbone_is_said_to_be_approximated(tmp_path, job_of):
    old = ("resnet:18", "vgg16"), ("freeze_blocks: 0", "freeze_blocks: 1")
    assert job_of(FASTER_RCNN, *old).detector.backbone == "vgg16"
    spec = open_spec(tmp_path / "spec.txt", FasterRCNNSpec)
    told = [each for each in mapping_report(spec) if each.line is None]
    assert [(each.field, each.outcome) for each in told] == [("model_config.arch", "approximated")]


def written(text: str, name: str, otherwise: float = 0.0) -> float:
    """The number that a spec's text gives a field, read without any parser of ours."""
    found = re.search(rf"^[^#\n]*\b{name}\s*:\s*([-+.\w]+)", text, re.MULTILINE)
    return {"true": 1.0, "false": 0.0}.get(found[1].lower()) or float(found[1]) if found else otherwise


def test_collected_specs_become_jobs_whose_recipe_is_what_they_say(shared):
    wrong = ("default_spec_grayscale", "vgg19_bs2")  # three channels of a grey input, and a field that TAO refuses, too
    paths = sorted((shared / "reference" / "sample_specs").glob("*faster_rcnn__*spec*"))
    right = [path for path in paths if not path.stem.endswith(wrong) and "dataset_" not in path.stem]
    assert len(right) > 75
    for path in right:
        text = path.read_text()
        job = faster_rcnn_job(open_spec(path, FasterRCNNSpec))
        assert DetectionJob.parse(job.described()) == job
        recipe, changes = job.recipe, "enable_augmentation: true" in text.lower()
        assert isinstance(recipe, DetectNetRecipe), path.name
        assert recipe.horizontal_flip == pytest.approx(written(text, "hflip_probability") * changes), path.name
        assert recipe.smallest == (written(text, "min_bbox_width"), written(text, "min_bbox_height"))
        if "size_min" in text:
            assert recipe.placement == Placement(sides=(600, 1000))
            continue
        assert recipe.placement == Placement(resize="enable_auto_resize: true" in text.lower()), path.name
        assert recipe.zoom == ((written(text, "zoom_min"), written(text, "zoom_max")) if changes else (1, 1))
        assert recipe.contrast == pytest.approx(written(text, "contrast_scale_max") * changes)
        shift = (written(text, "translate_max_x"), written(text, "translate_max_y"))
        assert recipe.shift == (shift if changes else (0, 0))
        assert (job.detector.height, job.detector.width) == (written(text, r"height"), written(text, r"width"))
