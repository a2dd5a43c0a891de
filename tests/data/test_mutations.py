import pytest

from benchmarks.mutations import outcomes


@pytest.mark.parametrize("seed", [0, 1])
def test_damaged_files_are_read_as_meant_or_refused_in_a_sentence(seed):
    found = outcomes(500, seed)
    assert sum(found.values()) == 500
    assert found["read"] > 100
    assert found["refused in a sentence"] > 100
