"""How many threads are used, and how they wait."""

import os
import subprocess
import sys
import threading

import pytest
import torch
from threadpoolctl import threadpool_info

from xraycls.data import processors
from xraycls.data.processors import (
    available_processors,
    in_threads,
    in_threads_if_slow,
    limited_to,
    pool_size,
    wait_passively,
)

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


def test_threads_that_were_asked_for_bound_those_of_torch_and_of_linear_algebra(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with limited_to(2):
            pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
            assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (2, "2")
            assert pools
            assert set(pools) <= {1, 2}
            with limited_to(1):
                assert torch.get_num_threads() == 1
        assert (torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")) == (3, None)
        monkeypatch.setenv("OMP_NUM_THREADS", "1")  # whoever sets it lower is heard
        with limited_to(2):
            assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (1, "1")
        assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (3, "1")
    finally:
        torch.set_num_threads(before)


def test_torch_reads_the_bound_when_it_is_imported_later():
    code = (
        "from xraycls.data.processors import limited_to\n"
        "with limited_to(1):\n    import torch\n    print(torch.get_num_threads())\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.parametrize(("load", "expected"), [(0.2, None), (25.0, "passive")])
def test_waiting_is_passive_where_the_machine_is_shared(monkeypatch, load, expected):
    monkeypatch.setattr(processors, "available_processors", lambda: 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    wait_passively()
    assert os.environ.pop("OMP_WAIT_POLICY", None) == expected


@pytest.mark.parametrize("items", [0, 1, 7, 1000])
def test_threads_give_results_in_order_however_items_are_shared_out(items):
    assert list(in_threads(lambda number: number**2, range(items), 3)) == [number**2 for number in range(items)]


def test_few_items_are_spread_over_all_threads():
    together = threading.Barrier(4, timeout=30)
    assert list(in_threads(lambda _: together.wait() >= 0, range(4), 4)) == [True] * 4


@pytest.mark.parametrize("slow", [False, True])
def test_short_work_stays_in_its_thread(monkeypatch, slow):
    monkeypatch.setattr(processors, "_SHORT", 0.0 if slow else 60.0)
    here, used = threading.get_ident(), set()

    def work(number):
        used.add(threading.get_ident())
        return number**2

    assert list(in_threads_if_slow(work, range(200), 4)) == [number**2 for number in range(200)]
    assert here in used
    assert (len(used) > 1) == slow
