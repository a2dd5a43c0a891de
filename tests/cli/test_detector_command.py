"""`xraycls detector`: a YAML file, and every verb of a detector without a spec."""

import json

import pytest
import yaml

from xraycls.cli import main
from xraycls.data.phantom import write_phantom
from xraycls.models.detection.files import load_detector
from xraycls.training.job import DetectionJob
from xraycls.training.run_folder import RunFolder

JOB = {
    "detector": {"network": "ssd", "backbone": "resnet10", "width": 96, "height": 96},
    "data": "films",  # beside the file
    "batch_size": 4,
    "loop": {"epochs": 5},
}
MACHINE = ["--device", "cpu", "--threads", "1"]


def run(*arguments: object) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder in which job.yaml has been trained into run."""
    folder = tmp_path_factory.mktemp("work")
    write_phantom(folder / "films", images=12, size=80, layout="siim")
    (folder / "job.yaml").write_text(yaml.safe_dump(JOB))
    settings = ["--set", "loop.epochs=1", "--set", "detector.width=64", "--set", "detector.height=64"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run("detector", "train", "--config", "job.yaml", *settings, "-o", "run", *MACHINE) == 0
    return folder


@pytest.mark.slow
def test_settings_of_the_command_line_take_the_place_of_those_of_the_file(work):
    job = DetectionJob.read(work / "run/config.yaml")
    assert (job.loop.epochs, job.batch_size, job.detector.width) == (1, 4, 64)
    assert job.recipe.canvas.shape == (64, 64)
    assert job.data.training[0].path == work / "films"  # wherever the run folder lies
    assert RunFolder(work / "run").last.is_file()


@pytest.mark.slow
def test_a_run_is_evaluated_on_its_validation_images(work, capsys, tmp_path):
    assert run("detector", "evaluate", work / "run", "-o", tmp_path, *MACHINE) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["images"] == json.loads(RunFolder(work / "run").environment.read_text())["counts"]["val"]["images"]
    assert "mAP" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_finds_objects_in_pictures(work, capsys, tmp_path):
    pictures = sorted((work / "films").rglob("*.dcm"))
    assert run("detector", "detect", work / "run", pictures[0].parent, "-o", tmp_path, "-t", 0.01, *MACHINE) == 0
    assert len(list((tmp_path / "labels").rglob("*.txt"))) == len(list(pictures[0].parent.rglob("*.dcm")))
    assert "objects in" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_is_pruned(work, tmp_path):
    assert run("detector", "prune", work / "run", "-o", tmp_path / "narrow.safetensors", "-pth", 0.5) == 0
    whole, narrow = (
        sum(p.numel() for p in load_detector(path)[0].parameters())
        for path in (RunFolder(work / "run").last, tmp_path / "narrow.safetensors")
    )
    assert narrow < whole


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "detector is missing in the command line. A job needs at least detector and data"),
        (["--data", "films", "--set", "detector.network=ssd"], "detector.backbone"),
        (["--set", "loop.epochs"], "--set loop.epochs is no setting. Write it as --set loop.epochs=40"),
        (["--set", "loop.epochs=[1"], "--set loop.epochs=[1 is no setting"),
        (["--config", "none.yaml"], "There is no file none.yaml"),
        (["--config", "job.yaml", "--set", "loop.epoch=3"], "loop.epoch: there is no such field"),
        (["--config", "job.yaml", "--set", "data.seed=3"], "data is 'films', so data.seed can't be set"),
        (["--config", "job.yaml", "--resume"], "--resume needs the run folder to go on with"),
    ],
)
def test_what_can_not_be_trained_is_one_sentence(arguments, sentence, tmp_path, monkeypatch, capsys):
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(JOB))
    monkeypatch.chdir(tmp_path)
    assert run("detector", "train", *arguments) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
