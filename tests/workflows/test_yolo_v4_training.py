"""A YOLOv4 from a spec: trained, evaluated, pruned, retrained and used on a few synthetic films."""

import csv
import io
import json
import re
import shutil
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch

import xraycls
from xraycls.cli import main
from xraycls.cli.tao_printer import TaoPrinter
from xraycls.data.box_sources import read_boxes
from xraycls.data.formats.kitti import read_kitti
from xraycls.data.phantom import write_phantom
from xraycls.data.siim2kitti import siim2kitti
from xraycls.errors import DataError, SpecError, UsageError
from xraycls.models.detection.files import load_detector, save_detector
from xraycls.models.detection.registry import build_detector
from xraycls.models.quantization import quantizers_of
from xraycls.tao.networks import NETWORKS
from xraycls.tao.programs import open_spec
from xraycls.training.annealing import SoftStartCosine
from xraycls.training.early_stopping import EarlyStopping
from xraycls.training.quantization import simulate_8_bits
from xraycls.training.reporter import Silent
from xraycls.types import Detections
from xraycls.workflows.detection.convert_weights import convert_weights
from xraycls.workflows.detection.data import count_learnable
from xraycls.workflows.detection.export import Calibration, export_for_tao
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
    path = spec(root, training="model_ema: true")
    with redirect_stdout(io.StringIO()) as printed:
        told = TaoPrinter(Silent())
        done = train_spec(YOLO_V4, path, root / "results", device="cpu", precision="fp32", reporter=told)
    (root / "printed.txt").write_text(printed.getvalue())
    return done


def test_every_field_of_the_spec_reaches_the_job(root):
    job = YOLO_V4.job(open_spec(spec(root, training="model_ema: true n_workers: 3"), YOLO_V4.spec), None)
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
    assert job.optimizer.name == "keras_adam"
    assert job.optimizer.options["betas"] == pytest.approx((0.9, 0.999))
    assert (job.regularizer.kind, job.regularizer.weight) == ("L1", pytest.approx(3e-5))
    assert job.data.learn_difficult is False
    assert job.threads == 3
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
def test_figures_are_printed_before_the_line_of_the_checkpoint(root, trained):
    printed = (root / "printed.txt").read_text()
    block = r"\*{31}\nopacity +AP +[\d.]+\n +mAP +[\d.]+\n\*{31}\nValidation loss: [\d.]+\nEpoch \d+"
    blocks = re.findall(block, printed)
    assert [block[-5:] for block in blocks] == ["00002", "00003"]
    assert printed.count("letterboxed about the middle") == 1
    assert printed.count("grey films have neither hue nor saturation") == 1


@pytest.mark.slow
def test_classes_lie_beside_the_weights(root, trained):
    assert (root / "results" / "model_output_labels.txt").read_text() == "opacity\n"


@pytest.mark.slow
def test_training_goes_on_after_the_epoch_in_the_name_of_the_model(root, trained):
    """With the state beside the model where it is of that epoch, else with a new optimiser."""
    weights = root / "results" / "weights"
    for epoch, known in ((2, False), (3, True)):
        model = weights / f"yolov4_cspdarknet_tiny_epoch_00{epoch}.tlt"
        again = spec(root, f"resume{epoch}.txt", training=f"resume_model_path: '{model}'")
        with redirect_stdout(io.StringIO()) as printed:
            done = train_spec(
                YOLO_V4, again, root / f"resumed{epoch}", epochs=epoch + 1, device="cpu", reporter=TaoPrinter(Silent())
            )
        assert f"Going on with epoch {epoch + 1} of {epoch + 1}" in printed.getvalue()
        assert ("momentum of its training isn't known" not in printed.getvalue()) == known
        assert [int(row["epoch"]) for row in done.outcome.rows][-1] == epoch + 1


def test_a_model_to_go_on_from_must_name_its_epoch(root):
    path = spec(root, "unnamed.txt", training="resume_model_path: '/models/yolov4.tlt'")
    with pytest.raises(SpecError, match=r"unnamed.txt, line \d+: .*resume_model_path has no epoch in its name"):
        train_spec(YOLO_V4, path, root / "never")


def test_early_stopping_counts_epochs_without_gain_as_keras_does(root):
    """Values and the epoch, from 0, in which Keras' ``EarlyStopping(monitor="loss")`` of 2 epochs ends the training."""
    path = spec(root, "early.txt", training="early_stopping { monitor: 'loss' min_delta: 0.1 patience: 2 }")
    loop = YOLO_V4.job(open_spec(path, YOLO_V4.spec), None).loop
    stopping = EarlyStopping(loop.patience, loop.min_delta, loop.higher_is_better)
    losses = [5.0, 4.0, 3.95, 3.5, 3.45, 3.41, 1.0]
    ended = next(epoch for epoch, loss in enumerate(losses) if [stopping.update(loss, epoch), stopping.should_stop][1])
    assert (loop.monitor, loop.validate_every, ended) == ("train_loss", 2, 5)


def test_pictures_are_letterboxed_for_evaluation_and_boxes_go_back(root):
    detector = build_detector(YOLO_V4.job(open_spec(spec(root), YOLO_V4.spec), None).detector)
    views = detector.evaluation_recipe().evaluation_views([[200.0, 100.0]])
    assert views.targets.tolist() == [[0, 16, 64, 48]]
    found = Detections(np.array([[0, 16, 64, 48]], np.float32), np.zeros(1, np.int64), np.ones(1, np.float32))
    assert found.mapped(views.matrices[0]).boxes == pytest.approx(np.array([[0, 0, 200, 100]]))


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
def test_a_pruned_model_to_take_weights_from_names_the_field(root, trained):
    pruned, _ = prune_detector(trained.model, root / "narrow.safetensors", threshold=0.97)
    path = spec(root, "pretrain.txt", training=f'pretrain_model_path: "{pruned}"')
    with pytest.raises(SpecError, match=r"pretrain.txt, line \d+: .*names a pruned model") as raised:
        train_spec(YOLO_V4, path, root / "never")
    assert "pruned_model_path" in (raised.value.hint or "")
    assert not (root / "never").exists()


@pytest.fixture(scope="module")
def untrained(root):
    """A detector of the spec as it begins, as our file and as TAO's."""
    detector = build_detector(YOLO_V4.job(open_spec(spec(root), YOLO_V4.spec), None).detector)
    save_detector(detector, root / "untrained.safetensors")
    convert_weights(root / "untrained.safetensors", root / "untrained.hdf5")
    return root / "untrained.safetensors"


@pytest.mark.parametrize("suffix", [".safetensors", ".hdf5"])
def test_a_model_that_was_never_pruned_names_the_field(root, untrained, suffix):
    path = spec(root, "whole.txt", training=f'pruned_model_path: "{untrained.with_suffix(suffix)}"')
    with pytest.raises(SpecError, match=r"line \d+: .*names a model that no filter was pruned from") as raised:
        train_spec(YOLO_V4, path, root / "never")
    assert "pretrain_model_path" in (raised.value.hint or "")


def test_a_file_of_tao_trained_for_quantisation_names_the_field(root, untrained):
    h5py = pytest.importorskip("h5py")
    shutil.copy(untrained.with_suffix(".hdf5"), root / "qat.hdf5")
    with h5py.File(root / "qat.hdf5", "a") as file:
        graph = file.attrs["model_config"].replace('"Conv2D"', '"QuantizedConv2D"')
        file.attrs.create("model_config", graph, dtype=h5py.string_dtype("ascii"))
    path = spec(root, "plain.txt", training=f'pretrain_model_path: "{root}/qat.hdf5"')
    with pytest.raises(SpecError, match=r"line \d+: .*trained with enable_qat, .*qat.hdf5, and enable_qat is off"):
        train_spec(YOLO_V4, path, root / "never")


@pytest.fixture(scope="module")
def quantized(root, untrained):
    """The same detector, as training for 8 bits has it."""
    detector, _ = load_detector(untrained)
    simulate_8_bits(detector, torch.zeros(1, 1, 64, 64, dtype=torch.uint8))
    save_detector(detector, root / "quantized_epoch_001.safetensors")
    return root / "quantized_epoch_001.safetensors"


def test_a_model_of_8_bits_is_not_gone_on_with_in_floating_point(root, quantized):
    path = spec(root, "float.txt", training=f'resume_model_path: "{quantized}"')
    with pytest.raises(
        SpecError, match=r"trained with enable_qat, .*quantized_epoch_001.safetensors, and enable_qat is off"
    ):
        train_spec(YOLO_V4, path, root / "never")


def test_a_model_in_floating_point_is_not_gone_on_with_in_8_bits(root, untrained):
    shutil.copy(untrained, root / "float_epoch_001.safetensors")
    started = f'resume_model_path: "{root}/float_epoch_001.safetensors" enable_qat: true'
    path = spec(root, "eight.txt", training=started)
    with pytest.raises(
        SpecError, match=r"trained without enable_qat, .*float_epoch_001.safetensors, and enable_qat is on"
    ):
        train_spec(YOLO_V4, path, root / "never")


@pytest.mark.walkthrough
def test_a_pruned_model_is_retrained_in_8_bits_and_exported_with_its_ranges(root, untrained):
    pruned, _ = prune_detector(untrained, root / "narrow.safetensors", threshold=0.99, min_filters=8)
    path = spec(root, "qat.txt", training=f'pruned_model_path: "{pruned}" enable_qat: true')
    done = train_spec(YOLO_V4, path, root / "qat", epochs=1, device="cpu", precision="fp32")
    detector, _ = load_detector(done.model)
    limits = [float(each.limit) for each in quantizers_of(detector.net).values()]
    assert len(limits) > 10
    assert min(limits) > 0
    told = export_for_tao(
        YOLO_V4,
        done.model,
        root / "exported" / "yolo.onnx",
        spec=path,
        data_type="int8",
        calibration=Calibration(cache=root / "exported" / "cal.bin"),
    )
    assert [file.name for file in told[1]] == ["yolo.int8.onnx", "cal.bin"]
    evaluation = evaluate_spec(YOLO_V4, root / "exported" / "yolo.int8.onnx", path, results=root / "of_int8")
    assert evaluation.precision == "int8"
    assert 0 <= evaluation.average.mean <= 1


@pytest.mark.slow
def test_a_pruned_file_of_tao_to_take_weights_from_names_the_field(root, untrained):
    pruned, _ = prune_detector(untrained, root / "slim.safetensors", threshold=0.97)
    convert_weights(pruned, root / "slim.hdf5")
    path = spec(root, "slim.txt", training=f'pretrain_model_path: "{root}/slim.hdf5"')
    with pytest.raises(SpecError, match=r"line \d+: .*names a pruned model"):
        train_spec(YOLO_V4, path, root / "never")
    again = spec(root, "slim-again.txt", training=f'pruned_model_path: "{root}/slim.hdf5"')
    done = train_spec(YOLO_V4, again, root / "slim-retrained", epochs=1, device="cpu", precision="fp32")
    parameters = [sum(p.numel() for p in load_detector(each)[0].parameters()) for each in (pruned, done.model)]
    assert parameters[0] == parameters[1]


def test_a_classifier_to_retrain_names_the_field(root):
    torch.save({}, root / "classifier.pth")
    path = spec(root, "retrain.txt", training=f'pruned_model_path: "{root}/classifier.pth"')
    with pytest.raises(SpecError, match=r"retrain.txt, line \d+: .*pruned_model_path names weights of a classifier"):
        train_spec(YOLO_V4, path, root / "never")


def test_a_mosaic_of_fewer_than_four_pictures_is_refused(root, tmp_path):
    (tmp_path / "images").mkdir()
    for picture in sorted((root / "images").iterdir())[:3]:
        shutil.copy(picture, tmp_path / "images")
    text = spec(root).read_text().replace(f"{root}/images", f"{tmp_path}/images", 1)
    (tmp_path / "few.txt").write_text(text)
    with pytest.raises(DataError, match="made of 4 pictures, and there are 3 to train on") as raised:
        train_spec(YOLO_V4, tmp_path / "few.txt", tmp_path / "results", device="cpu")
    assert "mosaic_prob" in (raised.value.hint or "")


def test_classes_of_the_mapping_without_any_box_are_named(root, caplog):
    job = YOLO_V4.job(open_spec(spec(root), YOLO_V4.spec), None)
    table = read_boxes(job.data).training
    count_learnable(job.recipe, ("nodule", "opacity"), table)
    assert "No training picture has an object of the class nodule" in caplog.text


def test_a_size_that_is_no_multiple_of_32_is_refused(root, tmp_path):
    (tmp_path / "odd.txt").write_text(spec(root).read_text().replace("output_width: 64", "output_width: 70"))
    with pytest.raises(SpecError, match=r"odd.txt, line \d+: .*output_width is 70; it must be a multiple of 32"):
        YOLO_V4.job(open_spec(tmp_path / "odd.txt", YOLO_V4.spec), None)
    with pytest.raises(UsageError, match="The input of a YOLOv4 is 70 x 64"):
        train_spec(YOLO_V4, spec(root), root / "never", size=(70, 64))


@pytest.mark.slow
def test_a_model_of_tao_is_evaluated_without_retraining(root, trained, capsys):
    convert_weights(trained.model, root / "of_tao.hdf5")
    blocks = []
    for model in (trained.model, root / "of_tao.hdf5"):
        with pytest.raises(SystemExit) as end:
            main(["yolo_v4", "evaluate", "-e", str(spec(root)), "-m", str(model), "--precision", "fp32"])
        assert not end.value.code
        blocks.append(re.search(r"\*{31}\nopacity.*\*{31}", capsys.readouterr().out, re.DOTALL)[0])
    assert blocks[0] == blocks[1]


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_commands_of_tao_on_an_exported_model(root, trained, tmp_path, capsys, runtime):
    """Both runtimes find what torch finds, and only an exported folder has them."""
    pytest.importorskip(runtime)

    def run(verb: str, model: object, *words: object) -> int:
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in ("yolo_v4", verb, "-m", model, "-e", spec(root), *words, "--runtime", runtime)])
        return int(end.value.code or 0)

    folder = xraycls.export_model(trained.model, tmp_path / "exported").path.parent
    assert run("evaluate", folder, "-r", tmp_path / "judged") == 0
    of_torch = evaluate_spec(YOLO_V4, trained.model, spec(root), results=tmp_path / "torch", precision="fp32")
    figures = json.loads((tmp_path / "judged" / "evaluation.json").read_text())
    assert figures["ap_sample"]["value"] == pytest.approx(of_torch.average.mean, abs=0.01)
    labels = ("-i", root / "images", "-o", tmp_path / "drawn", "-l", tmp_path / "labels", "-t", 0.01)
    assert run("inference", folder, *labels) == 0
    assert len(read_kitti(tmp_path / "labels", images=root / "images")) == 16
    capsys.readouterr()
    for verb, words in (("evaluate", ()), ("inference", labels)):
        assert run(verb, trained.model, *words) == 2
        assert f"is no exported folder, so --runtime {runtime} can't compute it" in capsys.readouterr().err
    with pytest.raises(UsageError, match="banana"):
        evaluate_spec(YOLO_V4, trained.model, spec(root), results=tmp_path / "never", runtime="banana")


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
