"""How many threads are used, and how they wait."""

import os

import pytest

from xraycls.data import processors
from xraycls.data.processors import available_processors, limited_to, pool_size, wait_passively

OLD = {"quota": "300000", "period": "100000"}


def groups(root, text, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "self").write_text(text)
    return processors._quota(root / "self", root)


@pytest.mark.parametrize(
    ("text", "files", "quota"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "20000 100000"}, 1),
        ("0::/\n", {"cpu.max": "max 100000"}, float("inf")),
        ("4:memory:/\n3:cpu,cpuacct:/x\n", {f"cpu/x/cpu.cfs_{n}_us": v for n, v in OLD.items()}, 3),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, float("inf")),
        ("0::/\n", {"cpu.max": "nonsense"}, float("inf")),
    ],
)
def test_a_control_group_grants_processors(tmp_path, text, files, quota):
    assert groups(tmp_path, text, files) == quota


def test_threads_that_were_asked_for_bound_every_pool(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(processors, "_quota", lambda: 2.5)
    assert (available_processors(), pool_size(16)) == (3, 16)
    with limited_to(2):
        assert (available_processors(), pool_size(16)) == (2, 2)
        with limited_to(None):
            assert available_processors() == 3
    with limited_to(0):
        assert pool_size(16) == 1


@pytest.mark.parametrize(("load", "expected"), [(0.2, None), (25.0, "passive")])
def test_waiting_is_passive_where_the_machine_is_shared(monkeypatch, load, expected):
    monkeypatch.setattr(processors, "available_processors", lambda: 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    wait_passively()
    assert os.environ.pop("OMP_WAIT_POLICY", None) == expected
