"""The verbs of every network of the table, by all its names."""

import pytest

from xraycls.cli import main
from xraycls.tao.networks import NETWORKS

NAMES = [(name, network) for network in NETWORKS.values() for name in (network.name, *network.aliases)]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    return int(end.value.code or 0)


@pytest.mark.parametrize(("name", "network"), NAMES, ids=[name for name, _ in NAMES])
def test_a_network_has_its_verbs_under_all_its_names(name, network, capsys):
    assert run(name, "--help") == 0
    told = capsys.readouterr().out
    assert all(verb in told for verb in (*network.verbs, "spec-check"))
    assert "gen_trt_engine" not in told


@pytest.mark.parametrize("verb", ["train", "evaluate", "inference", "prune", "kmeans", "export", "gen_trt_engine"])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=lambda network: network.name)
def test_a_verb_that_is_not_there_yet_says_so_whatever_its_flags(network, verb, capsys):
    if verb in network.verbs:
        return
    assert run(network.name, verb, "-e", "spec.txt", "--unheard-of", "3", "-k") == 1
    captured = capsys.readouterr()
    assert f"There is no xraycls {network.name} {verb} yet. {network.title} has " in " ".join(captured.err.split())
    assert captured.out.endswith("Execution status: FAIL\n")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("ssd train -e s.txt -r out -m", "-m is empty. Give it a value or leave -m out."),
        ("ssd evaluate -e s.txt -m", "-m is empty. Give it a value."),
        ("dssd prune -o out -m", "-m is empty. Give it a value."),
    ],
)
def test_a_variable_that_the_shell_left_empty_is_named(line, told, capsys):
    assert run(*line.split(), "") == 2
    assert told in " ".join(capsys.readouterr().err.split())
