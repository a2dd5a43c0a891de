"""`xraycls ssd spec-check` and its like."""

import json

import pytest

from xraycls.cli import main


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return int(end.value.code or 0)


@pytest.fixture
def seed(shared):
    return shared / "reference" / "seed_specs" / "ssd_train.txt"


def test_a_spec_is_told_field_by_field(seed, capsys):
    assert run("ssd", "spec-check", "-e", seed) == 0
    told = capsys.readouterr().out
    assert "ssd_config.aspect_ratios_global" in told
    assert "a spec of ssd for TLT 2: " in told
    assert "grey films have no colour" in told


def test_json_has_the_same(seed, capsys):
    arguments = ("--exp", seed, "--mount", "/workspace/tlt-experiments=/nowhere", "--json")
    assert run("ssd", "spec_check", *arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["network"], told["dialects"]) == ("ssd", ["TLT 2"])
    fields = {each["field"]: each for each in told["fields"]}
    start = fields["training_config.learning_rate.soft_start_annealing_schedule.soft_start"]
    assert (start["line"], start["value"], start["outcome"]) == (24, 0.15, "honoured")
    assert fields["dataset_config.data_sources[0].image_directory_path"]["note"].startswith("there is no /nowhere/data")


def test_a_spec_of_another_network_is_named(seed, capsys):
    assert run("yolo_v4", "spec-check", "-e", seed) == 1
    assert "this is an ssd spec: use xraycls ssd." in " ".join(capsys.readouterr().err.split())
    assert run("faster_rcnn", "spec-check", "-e", seed) == 1


def test_a_mistake_is_one_sentence(tmp_path, capsys):
    spec = tmp_path / "spec.txt"
    spec.write_text("ssd_config {\n arhc: 'resnet' }")
    assert run("ssd", "spec-check", "-e", spec) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert told.endswith("spec.txt, line 2: ssd_config has no field 'arhc'. Did you mean 'arch'?")
    assert "Traceback" not in told
