"""``xraycls ssd …`` as users of TLT and TAO type it."""

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import cv2
import numpy as np
import pytest

from tests.models.detectors import small_detector
from xraycls.cli import main
from xraycls.cli.tao_options import size_of
from xraycls.cli.tao_printer import TaoPrinter
from xraycls.errors import UsageError
from xraycls.evaluation.detection.average_precision import AveragePrecision
from xraycls.evaluation.detection.cases import ImageBoxes
from xraycls.evaluation.detection.table import detection_report
from xraycls.models.detection.files import load_detector, save_detector
from xraycls.training.reporter import Silent
from xraycls.training.run_folder import RunFolder
from xraycls.types import Detections
from xraycls.workflows.detection import evaluate, inference, prune
from xraycls.workflows.detection import spec as spec_workflow

SECRET = "a-very-secret-key"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(each) for each in arguments])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.tlt"
    save_detector(small_detector(), path, key=SECRET)
    return path


@pytest.fixture
def project(tmp_path, monkeypatch, model):
    """A working folder with a model under the key, and two pictures."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "ssd_resnet10_epoch_080.tlt").symlink_to(model)
    (tmp_path / "images").mkdir()
    (tmp_path / "empty.txt").touch()
    for name in ("a.png", "b.jpg"):
        cv2.imwrite(f"images/{name}", np.random.default_rng(0).integers(0, 255, (70, 90), dtype=np.uint8))
    return tmp_path


@pytest.fixture
def called(monkeypatch):
    """Replaces a workflow by one that notes its arguments, and takes no others than the real one."""

    def replace(module: object, name: str, result: object) -> SimpleNamespace:
        seen = SimpleNamespace()
        double = create_autospec(getattr(module, name), return_value=result)
        monkeypatch.setattr(module, name, double)
        seen.arguments = lambda: (double.call_args.args, double.call_args.kwargs)
        return seen

    return replace


def trained(folder: str = "results", *, early: bool = False) -> SimpleNamespace:
    outcome = SimpleNamespace(rows=[{"epoch": 2.0}, {"epoch": 3.0}], stopped_early=early)
    return SimpleNamespace(run=RunFolder(Path(folder)), model=Path(folder, "weights", "m.tlt"), outcome=outcome)


@pytest.mark.parametrize(
    "arguments",
    [
        "-e s.txt -r out -k {k} -m m.tlt --initial_epoch 41",
        "--experiment_spec_file s.txt --results_dir=out --key {k} --resume_model_weights m.tlt --initial-epoch=41",
        "--experiment_spec s.txt --result out --enc_key {k} --resume m.tlt --init 41",
        "--e s.txt --resul out --k {k} --resum m.tlt --i 41",  # of ours, --epochs and --enc-key begin so, too
        "-e /w/e/s.txt -r /w/e/out -k {k} -m /w/e/m.tlt --initial_epoch 41 --mount /w/e=.",
    ],
)
def test_train_takes_the_flags_of_tao(called, capsys, arguments):
    train_ssd = called(spec_workflow, "train_spec", trained("out"))
    given = arguments.format(k=SECRET).split()
    assert run("ssd", "train", *given, "--arch", "resnet", "--use_multiprocessing") == 0
    (_, spec, results), named = train_ssd.arguments()
    assert (spec, results) == (Path("s.txt"), Path("out"))
    assert (named["key"], named["weights"], named["initial_epoch"]) == (SECRET, Path("m.tlt"), 41)
    assert (named["epochs"], named["size"], named["batch_size"]) == (None, None, None)
    captured = capsys.readouterr()
    spec_name, place = arguments.split()[1], Path("out", "weights", "m.tlt")
    mounts = " --mount /w/e=." if "--mount" in arguments else ""
    assert captured.out == (
        "Finished 3 epochs. Results: out\n"
        f"Next: xraycls ssd evaluate -e {spec_name} -m {place}{mounts} -k KEY\n"
        "Execution status: PASS\n"
    )
    assert "Without meaning here, and ignored: --arch, --use-multiprocessing." in captured.err.replace("\n", " ")
    assert SECRET not in captured.out + captured.err


def test_train_takes_less_on_the_command_line(called):
    train_ssd = called(spec_workflow, "train_spec", trained())
    flags = "--epochs 2 --size 320x256 --batch-size 4 --device cpu --precision bf16 --loader torch --threads 1"
    assert run("ssd", "train", "-e", "s.txt", "-r", "out", *flags.split()) == 0
    named = train_ssd.arguments()[1]
    wanted = {"epochs": 2, "size": (320, 256), "batch_size": 4, "device": "cpu", "precision": "bf16"}
    assert {name: named[name] for name in wanted} == wanted
    assert (named["loader"], named["threads"], named["key"], named["weights"]) == ("torch", 1, "", None)
    assert (named["resume"], named["initial_epoch"]) == (False, 1)


def test_the_next_command_can_be_pasted(called, capsys):
    called(spec_workflow, "train_spec", trained("my results"))
    assert run("ssd", "train", "-e", "my spec.txt", "-r", "my results", "--mount", "/w=my data") == 0
    model = Path("my results", "weights", "m.tlt")
    assert f"Next: xraycls ssd evaluate -e 'my spec.txt' -m '{model}' --mount '/w=my data'\n" in capsys.readouterr().out


def test_train_goes_on_and_tells_of_an_early_end(called, capsys):
    train_ssd = called(spec_workflow, "train_spec", trained(early=True))
    assert run("ssd", "train", "-e", "s.txt", "-r", "out", "--continue") == 0
    assert train_ssd.arguments()[1]["resume"] is True
    assert "Finished 3 epochs, since it no longer improves. Results: results\n" in capsys.readouterr().out


def test_lines_for_scripts_get_past_a_progress_bar(capsys, monkeypatch):
    """A bar on a terminal takes sys.stdout over; what was piped to a file must still go there."""
    printer = TaoPrinter(Silent())
    monkeypatch.setattr("sys.stdout", sys.stderr)
    printer.message("Epoch 00001: saving model to m.tlt")
    assert capsys.readouterr().out == "Epoch 00001: saving model to m.tlt\n"


@pytest.mark.parametrize(("code", "status"), [(0, "PASS"), (1, "FAIL"), (130, "FAIL")])
def test_gpus_start_processes(monkeypatch, capsys, code, status):
    started = []
    monkeypatch.setattr("xraycls.training.launch.launch", lambda *arguments: started.append(arguments) or code)
    assert run("ssd", "train", "-e", "s.txt", "--results_dir", "out", "--gpus", 2, "--device", "cpu", "--quiet") == code
    arguments = ("ssd", "train", "-e", "s.txt", "--results-dir", "out", "--gpus", "2", "--device", "cpu", "--quiet")
    assert started == [(2, "cpu", arguments)]
    assert capsys.readouterr().out == f"Execution status: {status}\n"


def evaluated(folder: Path) -> evaluate.Evaluation:
    truths = [ImageBoxes.of([(0, 0, 10, 10)], [0]), ImageBoxes.of()]
    found = [Detections.of([(0, 0, 10, 10)], [0], [0.9]), Detections.of()]
    report = detection_report(truths, found, ("opacity",), resamples=0)
    return evaluate.Evaluation(
        AveragePrecision({"opacity": 0.49216}, 0.49216), report, (folder / "evaluation.json",), "fp32"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("-e", "s.txt", "-m", "m.tlt", "-k", SECRET, "-r", "out"),
        ("--experiment_spec", "s.txt", "--model_path", "m.tlt", "--key", SECRET, "--results_dir", "out"),
    ],
)
def test_evaluate_prints_the_block_of_tao(called, capsys, arguments):
    evaluate_ssd = called(spec_workflow, "evaluate_spec", evaluated(Path("out")))
    assert run("ssd", "evaluate", *arguments, "-i", "images", "-l", "labels", "-b", 4) == 0
    (_, model, spec), named = evaluate_ssd.arguments()
    assert (model, spec) == (Path("m.tlt"), Path("s.txt"))
    assert (named["key"], named["results"], named["batch_size"]) == (SECRET, Path("out"), 4)
    captured = capsys.readouterr()
    assert captured.out.startswith(
        "Start to calculate AP for each class\n"
        "*******************************\n"
        "opacity       AP    0.492\n"
        "              mAP   0.492\n"
        "*******************************\n"
    )
    assert "RSNA, IoU 0.40–0.75" in captured.out
    assert captured.out.endswith("Wrote out/evaluation.json.\nExecution status: PASS\n")
    assert "ignored: --image-dir, --label-dir." in captured.err.replace("\n", " ")


def test_training_prints_blocks_and_messages(capsys):
    class Heard(Silent):
        rows = 0

        def epoch(self, row, improved):
            self.rows += 1

    heard = Heard()
    printer = TaoPrinter(heard)
    printer.message("Epoch 00080: saving model to out/weights/ssd_resnet18_epoch_080.tlt")
    figures = {"val_loss": 41.868, "val_mAP": 0.453456, "val_AP_opacity": 0.5, "val_AP_nodule": 0.40691}
    printer.epoch({"epoch": 80.0, "train_loss": 1.0, **figures}, True)
    printer.epoch({"epoch": 81.0, "train_loss": 1.0}, False)
    printer.epoch({"epoch": 82.0, "train_loss": 1.0, "val_mAP": math.nan}, False)
    assert heard.rows == 3
    assert capsys.readouterr().out == (
        "Epoch 00080: saving model to out/weights/ssd_resnet18_epoch_080.tlt\n"
        "Start to calculate AP for each class\n"
        "*******************************\n"
        "opacity       AP    0.5\n"
        "nodule        AP    0.40691\n"
        "              mAP   0.45346\n"
        "*******************************\n"
        "Validation loss: 41.868\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("-i", "images", "-r", "out", "-t", 0.3),
        ("--image_dir", "images", "--results_dir=out", "--threshold", 0.3, "-b", 1),
        ("--im", "images", "--r", "out", "--t", 0.3, "--b", 1),
        ("-i", "images", "-o", "out/images_annotated", "-l", "out/labels", "--draw_conf_thres", 0.3),
        ("--in_image_path", "images", "--out_image_path", "out/images_annotated", "--out_label_path", "out/labels"),
    ],
)
def test_inference_in_the_spelling_of_every_era(project, capsys, arguments):
    model = "weights/ssd_resnet10_epoch_080.hdf5"
    assert run("ssd", "inference", "-m", model, "-k", SECRET, *arguments) == 0
    assert {p.name for p in (project / "out" / "labels").iterdir()} == {"a.txt", "b.txt"}
    assert {p.name for p in (project / "out" / "images_annotated").iterdir()} == {"a.png", "b.jpg"}
    captured = capsys.readouterr()
    labels, annotated = Path("out", "labels"), Path("out", "images_annotated")
    assert f"objects in 2 images. Wrote {labels} and {annotated}.\nExecution status: PASS\n" in captured.out
    assert SECRET not in captured.out + captured.err


def test_inference_passes_all_on(called):
    infer = called(inference, "infer", inference.Inference(1, 0, {}))
    flags = "-e s.txt -t 0.5 --batch-size 3 --device cpu --precision fp32 --threads 0 --mount /w=/here"
    assert run("ssd", "inference", "-m", "/w/m.tlt", "-i", "/w/i", "-o", "/w/o", *flags.split()) == 0
    (model, images, results), named = infer.arguments()
    assert (model, images, results) == (Path("/here/m.tlt"), Path("/here/i"), None)
    wanted = {"annotated": Path("/here/o"), "labels": None, "spec": Path("s.txt"), "threshold": 0.5, "batch_size": 3}
    assert {name: named[name] for name in wanted} == wanted
    assert (named["device"], named["precision"], named["threads"], named["key"]) == ("cpu", "fp32", 0, "")


def test_inference_that_could_not_read_all_fails(project, capsys):
    (project / "images" / "c.png").write_bytes(b"")
    model = "weights/ssd_resnet10_epoch_080.tlt"
    assert run("ssd", "inference", "-m", model, "-k", SECRET, "-i", "images", "-r", "out") == 1
    captured = capsys.readouterr()
    assert captured.out.endswith("Execution status: FAIL\n")
    assert "1 of 3 images could not be read." in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        "-m {m}.tlt -o pruned.tlt -eq intersection -pth 0.9 -nf 8 -pg 8 -n max -k {k}",
        "-pm {m}.hdf5 --output_file pruned --key {k} --equalization_criterion intersection "
        "--pruning_threshold=0.9 --min_num_filters 8 --pruning_granularity 8 --normalizer max",
    ],
)
def test_prune_makes_a_smaller_model(project, capsys, arguments):
    pytest.importorskip("torch_pruning")
    given = arguments.format(m="weights/ssd_resnet10_epoch_080", k=SECRET).split()
    assert run("ssd", "prune", *given, "-el", "ssd_expand_block_1", "backbone.conv1") == 0
    out = capsys.readouterr().out
    ratio = float(out.split("Pruning ratio (pruned model / original model): ")[1].split("\n")[0])
    assert 0.1 < ratio < 0.9
    assert out.endswith("Wrote pruned.tlt.\nExecution status: PASS\n")
    detector, _ = load_detector(Path("pruned.tlt"), key=SECRET)
    whole = small_detector()
    sizes = [sum(p.numel() for p in each.net.state_dict().values()) for each in (detector, whole)]
    assert sizes[0] / sizes[1] == pytest.approx(ratio, abs=1e-3)
    for name in ("extras.ssd_expand_block_1.2", "backbone.conv1"):
        shapes = [len(each.net.get_submodule(name).weight) for each in (detector, whole)]
        assert shapes[0] == shapes[1]
    status = [json.loads(line) for line in Path("status.json").read_text().splitlines()]
    assert [line["status"] for line in status] == ["STARTED", "RUNNING", "SUCCESS"]
    kpi = status[1]["kpi"]
    assert kpi["pruning_ratio"] == ratio
    assert kpi["size"] == Path("pruned.tlt").stat().st_size / 2**20
    assert run("ssd", "inference", "-m", "pruned.hdf5", "-k", SECRET, "-i", "images", "-r", "out") == 0


def test_prune_names_layers_and_keeps_what_it_was_told(called, capsys):
    layers = (SimpleNamespace(name="conv1", before=64, after=64, note="excluded"),)
    report = SimpleNamespace(ratio=0.5, before=2000, after=1000, layers=layers)
    prune_detector = called(prune, "prune_detector", (Path("p.tlt"), report))
    assert run("ssd", "prune", "-m", "m.tlt", "-o", "p", "-v", "-e", "spec.txt", "--results_dir", "out") == 0
    assert "conv1: 64 filters, 64 left (excluded)\n" in capsys.readouterr().out
    named = prune_detector.arguments()[1]
    assert (named["normalizer"], named["criterion"], named["threshold"]) == ("max", "union", 0.1)
    assert (named["granularity"], named["min_filters"], named["results"]) == (8, 16, Path("out"))


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ("inference -m {m} -i images -r out", 2, "is encrypted, and no key is given"),
        ("inference -m {m} -i images -r out -k wrong", 2, "The key doesn't open"),
        ("inference -m {m} -i none -r out -k {k}", 1, "There is no file or folder none."),
        ("inference -m {m} -i images -r out -k {k} -t 2", 2, "--threshold must lie between 0 and 1, not be 2."),
        ("inference -m none.tlt -i images -r out", 1, "There is no model none.tlt."),
        ("inference -m images/a.png -i images -r out", 1, "is not a model of xraycls"),
        ("prune -m {m} -o p -k {k} -el nothing", 2, "Unknown layer 'nothing' for -el."),
        ("prune -m {m} -o p -k {k} -eq sum", 2, "Unknown equalisation criterion 'sum' for -eq."),
        ("prune -m {m} -o p -k $UNSET_KEY", 2, "-k names a variable that is not set."),
        ("train -e none.txt -r out", 1, "none.txt: the spec could not be read"),
        ("train -e none.txt -r out --size 3by4", 2, "--size 3by4 is no size."),
        ("train -e images -r out", 1, "images: the spec could not be read: Is a directory."),
        ("train -e images/a.png -r out", 1, "images/a.png: the spec is not UTF-8 text."),
        ("train -e empty.txt -r out", 1, "empty.txt: ssd_config is missing."),
        ("train -e empty.txt -r images/a.png", 1, "empty.txt: ssd_config is missing."),
        ("evaluate -e empty.txt -m images", 1, "images is a folder and no model."),
        ("inference -m empty.txt -i images -r out", 1, "empty.txt is not a model of xraycls, or it is damaged."),
        ("evaluate -e empty.txt -m {m} -k {k} -r out", 1, "empty.txt: eval_config is missing."),
        (
            "inference -e empty.txt -m {m} -k {k} -i images -r out",
            1,
            "empty.txt: this is a spec of no network that is known",
        ),
        ("inference -m {m} -k {k} -i images -r images/a.png", 1, "images/a.png/status.json could not be written"),
        ("evaluate -e none.txt -m {m} -k {k}", 1, "none.txt: the spec could not be read"),
    ],
)
def test_mistakes_are_one_sentence(project, capsys, monkeypatch, arguments, code, sentence):
    monkeypatch.delenv("UNSET_KEY", raising=False)
    model = "weights/ssd_resnet10_epoch_080.tlt"
    assert run("ssd", *arguments.format(m=model, k=SECRET).split()) == code
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.err.count("Error:") == 1
    assert "Traceback" not in captured.err
    assert captured.out.endswith("Execution status: FAIL\n")
    assert SECRET not in captured.out + captured.err
    assert not (project / "p.tlt").exists()


def test_a_spec_of_another_network_is_named(project, capsys):
    Path("spec.txt").write_text("yolov4_config { }\n")
    assert run("ssd", "train", "-e", "spec.txt", "-r", "out") == 1
    assert "yolo_v4" in capsys.readouterr().err


@pytest.mark.parametrize(
    "verb", ["train", "evaluate", "inference", "prune", "spec-check", "spec_check", "dataset_convert"]
)
def test_every_verb_helps(verb, capsys):
    assert run("ssd", verb, "--help") == 0
    assert f"ssd {verb} [OPTIONS]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "size"),
    [("256", (256, 256)), ("320x256", (320, 256)), ("320X256", (320, 256)), ("320×256", (320, 256)), (None, None)],
)
def test_sizes(text, size):
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "0", "x256", "256x", "1x2x3", "-5", "2.5"])
def test_sizes_that_are_none(text):
    with pytest.raises(UsageError, match="is no size"):
        size_of(text)


@pytest.mark.parametrize("text", ["32", "320x32", "1x320"])
def test_sizes_that_tao_refuses(text):
    with pytest.raises(UsageError, match="is too small: width and height must be above 32"):
        size_of(text)
