import pytest

from benchmarks.mutations import READ, REFUSED, SILENT, TRACEBACK, outcomes


@pytest.mark.parametrize("seed", [0, 1])
def test_damaged_files_are_read_as_meant_or_refused_in_a_sentence(seed):
    faults = []
    found = outcomes(500, seed, faults)
    assert not faults, "\n".join(faults)
    assert found[SILENT] == found[TRACEBACK] == 0
    assert found[READ] + found[REFUSED] == 500
    assert min(found[READ], found[REFUSED]) > 100


def test_what_a_reader_made_up_would_be_counted(monkeypatch):
    monkeypatch.setattr("benchmarks.mutations.reference_kitti", lambda line: None)
    assert outcomes(70, 0)[SILENT] > 0
    monkeypatch.setattr("benchmarks.mutations.read_kitti", lambda *_, **__: 1 / 0)
    assert outcomes(70, 0)[TRACEBACK] == 10
