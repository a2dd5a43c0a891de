"""Sweeps: which trials there are, how they run as child processes, and what is left of a sweep that was killed."""

import json
import math
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import typer

import xraycls
from xraycls.cli import main
from xraycls.cli.app import app
from xraycls.data.phantom import write_phantom
from xraycls.data.rows import read_rows
from xraycls.errors import DataError, MissingExtra, TrainingError, UsageError
from xraycls.training.config import TrainConfig
from xraycls.training.job import DetectionJob
from xraycls.training.run_folder import RunFolder
from xraycls.workflows.sweep import child, local
from xraycls.workflows.sweep import run as runs
from xraycls.workflows.sweep.folder import Goal, SweepConfig, Trial, read_trials
from xraycls.workflows.sweep.halving import Halving
from xraycls.workflows.sweep.run import sweep
from xraycls.workflows.sweep.space import Range, Space, parse_axis
from xraycls.workflows.sweep.tpe import suggest
from xraycls.workflows.sweep.trainers import TRAINERS

SSD = {f"detector.{name}": value for name, value in (("backbone", "resnet10"), ("height", 64), ("width", 64))}
STAND_IN = Path(__file__).with_name("sweep_program.py")


@pytest.fixture
def quick(monkeypatch, tiny):
    """Trials are a stand-in that writes metrics at once; returns a sweep of it with the trials that misbehave."""
    monkeypatch.setattr(child, "PROGRAM", (sys.executable, "-S", str(STAND_IN)))
    monkeypatch.setattr(local, "_PAUSE", 0.02)
    report = runs.write_report
    monkeypatch.setattr(runs, "write_report", lambda *_: None)  # its picture takes longer than the trials

    def run(output, over, ways="", drawn=False, **how):
        if drawn:
            monkeypatch.setattr(runs, "write_report", report)
        monkeypatch.setenv("SWEEP_TEST", ways)
        settings = {"data": str(tiny), "epochs": 2, "warmup_epochs": 0.0, "device": "cpu", **how}
        return sweep("train", over, output=output, **settings)

    return run


def starts(trial: Trial) -> int:
    return len((trial.folder / "starts.txt").read_text().splitlines())


# Which trials there are


def test_a_grid_has_every_combination_with_what_its_values_set():
    space = Space(
        {"optimizer": ("adam", "sgd"), "size": (32, 64)},
        {"epochs": 3, "learning_rate": 0.1},
        {"sgd": {"learning_rate": 0.5}, "size=64": {"epochs": 9}},
    )
    made = [space.settings(values) for values in space.grid()]
    kept = [(m["optimizer"], m["size"], m["learning_rate"], m["epochs"]) for m in made]
    assert kept == [("adam", 32, 0.1, 3), ("adam", 64, 0.1, 9), ("sgd", 32, 0.5, 3), ("sgd", 64, 0.5, 9)]


def test_ranges_are_drawn_evenly_on_their_own_scale():
    space = Space({"a": Range(1e-4, 1.0, log=True), "b": Range(0.0, 2.0), "c": Range(1, 4), "d": ("x", "y")}, {}, {})
    drawn = [space.draw(7, number) for number in range(600)]
    assert drawn == [space.draw(7, number) for number in range(600)]
    assert drawn[0] != space.draw(8, 0)
    quartiles = np.quantile(np.log10([d["a"] for d in drawn]), (0, 0.25, 0.5, 0.75, 1))
    np.testing.assert_allclose(quartiles, (-4, -3, -2, -1, 0), atol=0.25)
    np.testing.assert_allclose(np.quantile([d["b"] for d in drawn], (0, 0.5, 1)), (0, 1, 2), atol=0.15)
    for name, choices in (("c", [1, 2, 3, 4]), ("d", ["x", "y"])):
        counts = {value: sum(d[name] == value for d in drawn) for value in choices}
        assert sum(counts.values()) == 600
        assert min(counts.values()) > 0.8 * 600 / len(choices)


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("adam,sgd", ("adam", "sgd")),
        ("1e-3,0.01", (0.001, 0.01)),
        ("[0, 1],[]", ([0, 1], [])),
        ("log:1e-5..1e-2", Range(1e-5, 1e-2, log=True)),
        ("0..0.5", Range(0.0, 0.5)),
        ("16..64", Range(16, 64)),
        ("../films", ("../films",)),
    ],
)
def test_values_are_read_as_people_write_them(text, axis):
    assert parse_axis("setting", text) == axis


@pytest.mark.parametrize("text", ["adam,adam", "1..0", "log:0..1", "[a", ""])
def test_values_that_cant_be_are_refused(text):
    with pytest.raises(UsageError, match="lr"):
        parse_axis("lr", text)


def test_a_condition_that_no_trial_meets_is_refused():
    with pytest.raises(UsageError, match="is no value of what is varied"):
        Space({"optimizer": ("adam",)}, {}, {"sgd": {"lr": 1}})
    with pytest.raises(UsageError, match="a value of size and of epochs"):
        Space({"size": (32, 64), "epochs": (32,)}, {}, {"32": {"lr": 1}})


def test_tpe_looks_where_others_were_good(tmp_path):
    goal = Goal("loss", False, 3, 0)
    space = Space({"lr": Range(1e-6, 1.0, log=True), "optimizer": ("adam", "sgd")}, {}, {})
    trials = []
    for number in range(1, 41):
        values = space.draw(0, number)
        value = (math.log10(values["lr"]) + 3) ** 2 + (values["optimizer"] == "sgd")
        trials.append(Trial(tmp_path / str(number), number, values, (), "finished", "", (value,), 1))
    next_ones = [suggest(space, seed, 41, trials, goal) for seed in range(8)]
    assert next_ones == [suggest(space, seed, 41, trials, goal) for seed in range(8)]
    assert np.median([abs(math.log10(values["lr"]) + 3) for values in next_ones]) < 0.75  # 1.5 if drawn evenly
    assert sum(values["optimizer"] == "adam" for values in next_ones) > 4


# What is refused before any trial starts


@pytest.mark.parametrize(
    ("trainer", "over", "settings", "said"),
    [
        ("trian", {"optimizer": "adam"}, {}, "Unknown trainer 'trian'. Did you mean train"),
        ("train", {"optimizer": "adam,adamm"}, {}, "'adamm'.*Did you mean adam"),
        ("train", {"optimzer": "adam"}, {}, "'optimzer'. Did you mean optimizer"),
        ("train", {"lr": "1e-3"}, {"base_model": "resnet81"}, "'resnet81'.*Did you mean"),
        ("train", {"epochs": "1,0"}, {}, "--epochs should be greater than or equal to 1"),
        ("train", {"monitor": "loss,auroc"}, {}, "judged by loss and another by auroc"),
        ("train", {"lr": "1e-4..1e-2"}, {}, "how many trials"),
        ("train", {"lr": "1e-4..1e-2"}, {"search": "grid"}, "a grid can't go through"),
        ("train", {"lr": "1e-3"}, {"trials": 3}, "a grid has as many"),
        ("train", {"lr": "1e-3"}, {"lr": 0.1}, "varied and set"),
        ("train", {"lr": "1e-3"}, {"grace": 3}, "Add --halving"),
        ("train", {"lr": "1e-3"}, {"gpus": 2}, "one process"),
        ("train", {}, {}, "what to vary"),
        ("unet", {"optimizer": "adam,adamm"}, {}, "'adamm'.*Did you mean adam"),
        ("unet", {"backbone": "resnet10,resnet81"}, {}, "resnet81"),
        ("unet", {"bakbone": "resnet10"}, {}, "'bakbone'. Did you mean backbone"),
        ("unet", {"loop.emma": "0.9"}, {}, "loop.emma"),
        ("detector", {"detector.network": "ssd,sdd"}, SSD, "'sdd'. Did you mean ssd"),
        ("detector", {"batch_sise": "3"}, {"detector.network": "ssd", **SSD}, "'batch_sise'"),
        ("detector", {"optimizer": "sgd,sdg"}, {"detector.network": "ssd", **SSD}, "'sdg'"),
    ],
)
def test_a_wrong_setting_is_refused_before_any_trial(trainer, over, settings, said, tmp_path, tiny):
    with pytest.raises(UsageError, match=said):
        sweep(trainer, over, output=tmp_path / "sweep", data=str(tiny), device="cpu", **settings)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("trainer", ["train", "unet"])
def test_data_that_arent_there_are_told_of_once(trainer, tmp_path):
    with pytest.raises((DataError, UsageError), match="nowhere"):
        sweep(trainer, {"optimizer": "adam,sgd"}, output=tmp_path / "sweep", data="nowhere")
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("package", "how"),
    [("ray", {"backend": "ray"}), ("optuna", {"search": "tpe", "trials": 2})],
)
def test_a_missing_package_is_named_with_its_way_in(package, how, tmp_path, tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r"is not installed\. Install it with: pip install") as told:
        sweep("train", {"lr": "0.1..0.2"}, output=tmp_path / "sweep", data=str(tiny), device="cpu", **how)
    assert package in str(told.value).lower()
    assert not (tmp_path / "sweep").exists()


def command_of(words):
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize(
    ("trainer", "settings"),
    [
        ("train", {name: field.default for name, field in TrainConfig.model_fields.items()} | {"class_map": "A=B"}),
        ("train", {"channels_last": False, "balance": True, "strict": False, "learning_rate": 1e-05}),
        ("unet", {"train_threshold": False, "save_images": True, "lr": 1e-3, "bs": 4, "loop.ema": 0.99, "wd": 0.1}),
        ("unet", {"recipe": "original", "bn_momentum": 0.5, "alpha_leaky": 0.1, "device": "cpu", "threads": 2}),
        ("detector", {"config": "job.yaml", "epochs": 3, "freeze_blocks": [0, 1], "rate.base": 1e-05}),
    ],
)
def test_a_trials_command_line_is_one_that_its_trainer_takes(trainer, settings, tmp_path):
    made = TRAINERS[trainer].arguments(TRAINERS[trainer].spelt(settings), tmp_path)
    command, words = command_of(made)
    with command.make_context("trial", words) as context:
        given = context.params
    if "freeze_blocks" in settings:
        assert given["settings"] == ["loop.epochs=3", "freeze_blocks=[0, 1]", "rate.base=1.0e-05"]
    if "channels_last" in settings and trainer == "train":
        assert given["channels_last"] is settings["channels_last"]
        assert given["learning_rate"] == settings["learning_rate"]
    assert given["output"] == tmp_path


# Running


def test_trials_are_run_folders_and_are_compared(quick, tmp_path):
    done = quick(tmp_path / "s", {"lr": "0.3,0.1,0.2"}, drawn=True, workers=2)
    assert [trial.name for trial in done.trials] == ["001-0.3", "002-0.1", "003-0.2"]
    assert {trial.state for trial in done.trials} == {"finished"}
    assert done.best is not None
    assert (done.best.name, done.best.best, done.best.best_epoch) == ("002-0.1", 0.6, 2)
    rows = read_rows(tmp_path / "s" / "table.csv")
    assert [(row["learning_rate"], row["loss"]) for row in rows] == [("0.3", "0.8"), ("0.1", "0.6"), ("0.2", "0.7")]
    assert (tmp_path / "s" / "best" / "metrics.csv").samefile(done.best.folder / "metrics.csv")
    page = (tmp_path / "s" / "report.html").read_text()
    assert 'href="trials/002-0.1/"' in page
    assert "data:image/png" in page
    assert SweepConfig.read(tmp_path / "s" / "sweep.yaml").settings["epochs"] == 2


def test_a_sweep_goes_on_by_its_folder_and_repeats_nothing(quick, tmp_path):
    first = quick(tmp_path / "s", {"lr": "0.3,0.1"}, ways="2=fail")
    assert [(trial.state, trial.reason) for trial in first.trials] == [
        ("finished", ""),
        ("failed", "There is no such thing. Name another."),
    ]
    os.environ["SWEEP_TEST"] = ""
    again = sweep(tmp_path / "s")
    assert [trial.state for trial in again.trials] == ["finished", "finished"]
    assert [starts(trial) for trial in again.trials] == [1, 2]
    with pytest.raises(UsageError, match="began with"):
        quick(tmp_path / "s", {"lr": "0.3,0.2"})


def test_a_killed_trial_is_started_again_and_goes_on(quick, tmp_path):
    done = quick(tmp_path / "s", {"lr": "0.3,0.1"}, ways="1=kill")
    assert [(trial.state, len(trial.curve), starts(trial)) for trial in done.trials] == [
        ("finished", 2, 2),
        ("finished", 2, 1),
    ]


def test_all_trials_failing_is_told_once(quick, tmp_path):
    with pytest.raises(TrainingError, match=r"All 2 trials failed.*There is no such thing"):
        quick(tmp_path / "s", {"lr": "0.3,0.1"}, ways="1=fail,2=fail")
    assert [row["state"] for row in read_rows(tmp_path / "s" / "table.csv")] == ["failed", "failed"]


def test_a_trial_gets_one_gpu_and_its_share_of_the_processors(quick, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(child, "available_processors", lambda: 6)
    done = quick(tmp_path / "s", {"lr": "0.3,0.1"}, workers=2)
    assert [(t.folder / "starts.txt").read_text() for t in done.trials] == ["3 3\n", "5 3\n"]


def test_hopeless_trials_are_given_up_after_their_grace(quick, tmp_path):
    done = quick(tmp_path / "s", {"lr": "0.1,0.5"}, ways="2=slow", epochs=6, halving=2, grace=3)
    assert [trial.state for trial in done.trials] == ["finished", "stopped"]
    assert len(done.trials[1].curve) >= 3
    assert [trial.state for trial in sweep(tmp_path / "s").trials] == ["finished", "stopped"]
    assert starts(done.trials[1]) == 1


def test_no_trial_is_given_up_while_its_rate_still_rises():
    assert Halving.of(Goal("loss", False, 40, 10.5), 2, 3).rungs == (11, 22)
    assert Halving.of(Goal("loss", False, 40, 0), 3, None).rungs == (8, 24)
    assert Halving.of(Goal("loss", False, 3, 0), 2, None).rungs == ()


@pytest.mark.parametrize("higher", [False, True])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_best_part_of_a_rung_goes_on(factor, higher):
    halving = Halving(factor, 2, 100, higher)
    values = np.random.default_rng(factor).permutation(np.arange(9.0))
    curves = [(math.nan, value, value) for value in values]
    left = [
        value
        for index, value in enumerate(values)
        if not halving.is_hopeless(2, curves[index], [*curves[:index], *curves[index + 1 :], (0.0,)])
    ]
    best = np.sort(values)[::-1] if higher else np.sort(values)
    assert sorted(left) == sorted(best[: math.ceil(9 / factor)])
    assert halving.is_hopeless(2, (math.nan, math.nan), curves)
    assert not halving.is_hopeless(2, curves[0], [])


def forked(quick, *arguments, **how):
    """A process that runs a sweep, once its second trial has written an epoch."""
    process = multiprocessing.get_context("fork").Process(target=quick, args=arguments, kwargs=how)
    process.start()
    deadline = time.monotonic() + 60
    while not list(arguments[0].glob("trials/002-*/metrics.csv")):
        assert time.monotonic() < deadline, "the second trial never began"
        time.sleep(0.02)
    return process


def processes_of(folder):
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in entry.read_bytes():
                found.append(entry.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children end with their parent on Linux alone")
def test_a_killed_sweep_takes_its_trials_with_it_and_goes_on(quick, tmp_path):
    process = forked(quick, tmp_path / "s", {"lr": "0.3,0.1"}, ways="2=slow")
    process.kill()
    process.join()
    while processes_of(tmp_path / "s"):
        time.sleep(0.02)
    done = quick(tmp_path / "s", {"lr": "0.3,0.1"}, epochs=2)
    assert [trial.state for trial in done.trials] == ["finished", "finished"]
    assert [starts(trial) for trial in done.trials] == [1, 2]


def test_ctrl_c_saves_all_trials_and_stops(quick, tmp_path):
    process = forked(quick, tmp_path / "s", {"lr": "0.3,0.1,0.2"}, ways="2=slow")
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 1  # Interrupted
    states = {number: trial.state for number, trial in read_trials(tmp_path / "s").items()}
    assert states == {1: "finished", 2: "waiting"}
    assert [row["state"] for row in read_rows(tmp_path / "s" / "table.csv")] == ["finished", "waiting", "waiting"]


def test_the_command_line_sweeps_and_says_what_is_best(quick, tmp_path, tiny, capsys):
    words = f"sweep train --data {tiny} --epochs 2 --warmup-epochs 0 --lr 0.5"
    words += " --over optimizer=adam,sgd --set sgd:lr=0.01"
    with pytest.raises(SystemExit) as end:
        main([*words.split(), "--output", str(tmp_path / "s")])
    assert not end.value.code
    said = capsys.readouterr()
    assert "Best: 002-sgd, loss 0.51 after epoch 2." in said.out
    assert "002-sgd  finished" in said.err
    with pytest.raises(SystemExit) as end:
        main(["sweep", str(tmp_path / "s"), "--json"])
    assert not end.value.code
    assert [t["best"] for t in json.loads(capsys.readouterr().out)["trials"]] == [1.0, 0.51]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sweep trian --over a=1", "Did you mean train"),
        ("sweep train --epoch", "requires an argument"),
        ("sweep train --lrr 3 --over a=1", "No such option"),
        ("sweep train --gpus 2 --over lr=1", "--gpus has no meaning"),
        ("sweep train --over lr", "names no value"),
    ],
)
def test_a_wrong_flag_is_told_of(words, said, capsys):
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_folds_on_several_gpus_are_a_sweep(tmp_path, tiny, capsys):
    with pytest.raises(SystemExit) as end:
        main(["unet", "train", "--data", str(tiny), "--folds", "2", "--gpus", "2"])
    assert end.value.code == 2
    assert "--set data.folds=2 --over data.fold=0,1 --workers 2" in " ".join(capsys.readouterr().err.split())
    settings = {"data": str(tiny), "backbone": "resnet10", "size": 64, "data.folds": 2, "data.fold": 1}
    assert TRAINERS["unet"].goal(settings).monitor == "mAP"


@pytest.mark.exhaustive
@pytest.mark.parametrize("trainer", ["unet", "detector"])
def test_detectors_are_swept_for_real(trainer, tmp_path):
    write_phantom(tmp_path / "films", images=24, size=96)
    settings = {"data": str(tmp_path / "films"), "device": "cpu", "precision": "fp32", "epochs": 2, "bs": 8}
    if trainer == "unet":
        settings |= {"backbone": "resnet10", "size": 64, "loop.ema_warmup": 1}
    else:
        settings |= {"detector.network": "ssd", **SSD}
    optimizer = "optimizer" if trainer == "unet" else "optimizer.name"
    done = sweep(
        trainer, {optimizer: "adam,sgd"}, output=tmp_path / "s", workers=2, when={"sgd": {"seed": 3}}, **settings
    )
    assert [(trial.state, len(trial.curve)) for trial in done.trials] == [("finished", 2), ("finished", 2)], done.trials
    jobs = [DetectionJob.read(RunFolder(trial.folder).config) for trial in done.trials]
    assert [(job.optimizer.name, job.loop.seed == 3, job.loop.epochs) for job in jobs] == [
        ("adam", False, 2),
        ("sgd", True, 2),
    ]
    assert done.best is not None
    (found,), _ = xraycls.detect(tmp_path / "s" / "best", next((tmp_path / "films").rglob("*.jpeg")), device="cpu")
    assert found.error is None
    assert len(list((tmp_path / "s" / "trials").glob("*/events.*"))) == 2


@pytest.mark.exhaustive
def test_a_trial_is_bit_for_bit_the_training_that_it_names(tmp_path, tiny):
    settings = {"data": str(tiny), "weights": "none", "size": 32, "epochs": 2, "batch_size": 8, "device": "cpu"}
    done = xraycls.sweep("train", {"optimizer": ["adamax"]}, output=tmp_path / "s", **settings)
    alone = xraycls.train(output=tmp_path / "alone", optimizer="adamax", **settings)
    assert done.best is not None
    ours, theirs = (read_rows(folder / "metrics.csv") for folder in (done.best.folder, alone.run.path))
    timed = {"seconds", "waiting"}
    assert [{k: v for k, v in row.items() if k not in timed} for row in ours] == [
        {k: v for k, v in row.items() if k not in timed} for row in theirs
    ]
    best = done.best.folder / "checkpoints" / "best.safetensors"
    assert best.read_bytes() == alone.run.best.read_bytes()
