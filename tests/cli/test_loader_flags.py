"""`--loader` and `--dali` for every verb that loads pictures."""

import json

import pytest

from tests.loaders.engines import needs_dali
from xraycls.cli import main
from xraycls.models.classifier import load_classifier
from xraycls.training.run_folder import RunFolder

FAST = "--weights none --base-model resnet18 --size 32 --batch-size 6 --precision fp32 --epochs 1".split()


def run(*arguments):
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loader") / "run"
    assert run("train", "--data", tiny, "-o", folder, "--nvidiadali", *FAST) == 0
    return folder


@needs_dali
def test_a_run_records_its_engine(trained):
    assert json.loads((trained / "environment.json").read_text())["engine"] == "dali"
    assert load_classifier(RunFolder(trained).best)[1]["engine"] == "dali"
    assert RunFolder(trained).read_config().loader == "dali"


@needs_dali
def test_without_a_gpu_dali_says_so_in_one_sentence(tiny, tmp_path, capfd):
    assert run("train", "--data", tiny, "-o", tmp_path / "run", "--dali", "--device", "cpu", *FAST) == 0
    assert "Without a GPU, DALI decodes and draws with its CPU operators" in " ".join(capfd.readouterr().err.split())


@pytest.mark.walkthrough
@needs_dali
@pytest.mark.parametrize("loader", ["torch", "resident"])
def test_testing_with_another_engine_is_allowed_and_says_so(trained, loader, tmp_path, capfd):
    assert run("test", trained, "--loader", loader, "-o", tmp_path, "--resamples", 20) == 0
    said = " ".join(capfd.readouterr().err.split())
    assert f"trained with pictures of the dali engine and now sees those of {loader}" in said


@needs_dali
def test_every_engine_predicts_the_same(trained, tiny, tmp_path, capfd):
    found = {}
    for loader in ("torch", "dali", "resident"):
        assert run("predict", trained, tiny / "test", "--loader", loader, "-o", tmp_path / loader, "--json") == 0
        rows = json.loads(capfd.readouterr().out)
        found[loader] = {row["name"]: row["p_PNEUMONIA"] for row in rows}
    assert len(found["torch"]) == 8
    assert found["dali"] == pytest.approx(found["torch"], abs=0.03)
    assert found["resident"] == pytest.approx(found["torch"], abs=0.03)


@pytest.mark.walkthrough
@needs_dali
def test_a_run_may_be_resumed_with_another_engine(trained, tiny, tmp_path):
    folder = tmp_path / "run"
    assert run("train", "--data", tiny, "-o", folder, *FAST) == 0
    more = [*FAST[:-1], "2"]
    assert run("train", "--data", tiny, "-o", folder, "--resume", "auto", "--loader", "dali", *more) == 0
    assert len(RunFolder(folder).read_metrics()) == 2
    assert json.loads((folder / "environment.json").read_text())["engine"] == "dali"


def test_a_missing_dali_is_one_sentence_with_the_command(tiny, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("xraycls.loaders.choose.is_installed", lambda: False)
    assert run("train", "--data", tiny, "-o", tmp_path / "run", "--dali", *FAST) == 1
    assert "pip install 'nvidia-dali-cuda120>=" in " ".join(capfd.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_flags_that_disagree_and_unknown_loaders_are_wrong_usage(tiny, tmp_path, capfd):
    assert run("train", "--data", tiny, "-o", tmp_path / "run", "--dali", "--loader", "torch", *FAST) == 2
    assert "--dali and --loader torch don't go together" in capfd.readouterr().err
    assert run("train", "--data", tiny, "-o", tmp_path / "run", "--loader", "dalli", *FAST) == 2
    assert "Did you mean dali?" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.walkthrough
def test_pictures_trained_with_are_known_whether_prepared_or_not(tiny, tmp_path, capfd):
    store = tmp_path / "store"
    assert run("data", "prepare", tiny, store, "--size", 48) == 0
    assert run("train", "--data", store, "-o", tmp_path / "run", *FAST) == 0
    assert run("test", tmp_path / "run", "--data", tiny, "--split", "train", "-o", tmp_path, "--resamples", 20) == 0
    assert "24 of 24 images were trained or chosen with" in " ".join(capfd.readouterr().err.split())
    assert run("test", tmp_path / "run", "--data", tiny, "--split", "test", "-o", tmp_path, "--resamples", 20) == 0
    assert "trained or chosen with" not in capfd.readouterr().err
