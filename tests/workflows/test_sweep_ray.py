"""Sweeps by Ray Tune, on a cluster of two processors that the tests start; make cluster installs it."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import xraycls
from xraycls.data.rows import read_rows
from xraycls.errors import UsageError, XrayclsError
from xraycls.workflows.sweep import ray as backend
from xraycls.workflows.sweep import run as runs
from xraycls.workflows.sweep.run import sweep

ray = pytest.importorskip("ray", reason="needs Ray, which is 500 MB: pip install '.[ray]'")

pytestmark = pytest.mark.cluster
STAND_IN = Path(__file__).with_name("sweep_program.py")


@pytest.fixture(scope="module")
def cluster(request):
    """Two processors, whose workers run the stand-in; trial 2 kills itself once and trial 3 fails."""
    program = (sys.executable, "-S", str(STAND_IN))

    def use_stand_in():
        from xraycls.workflows.sweep import child

        child.PROGRAM = program

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "SWEEP_TEST": "2=kill,3=fail",
            **backend._ENVIRONMENT,
        }.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        try:
            ray.init(
                num_cpus=2,
                include_dashboard=False,
                object_store_memory=100_000_000,
                log_to_driver=False,
                runtime_env={"worker_process_setup_hook": use_stand_in},
            )
        except (OSError, RuntimeError) as error:  # such as a container without shared memory or ports
            pytest.skip(f"Ray can't start a cluster on this machine: {error}")
        yield
        ray.shutdown()


@pytest.fixture
def quick(cluster, tiny, monkeypatch):
    monkeypatch.setattr(runs, "write_report", lambda *_: None)

    def run(output, over, **how):
        settings = {"data": str(tiny), "epochs": 3, "warmup_epochs": 0.0, "device": "cpu", **how}
        return sweep("train", over, output=output, backend="ray", workers=2, **settings)

    return run


def starts(trial):
    return len((trial.folder / "starts.txt").read_text().splitlines())


def processes_of(folder):
    """Process → its parent, of all whose command line names a folder."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (entry / "cmdline").read_bytes():
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    return found


def test_ray_runs_all_trials_and_starts_killed_ones_again(quick, tmp_path):
    with (tmp_path / "log.txt").open("w") as log:  # Ray can't pickle it, and needn't
        done = quick(tmp_path / "s", {"lr": "0.1,0.2,0.3"}, watch=lambda trials: log.write("."))
    assert (tmp_path / "log.txt").read_text()
    assert [(t.state, len(t.curve), starts(t)) for t in done.trials] == [
        ("finished", 3, 1),
        ("finished", 3, 2),
        ("failed", 0, 1),
    ]
    assert done.trials[2].reason == "There is no such thing. Name another."
    assert done.best is not None
    assert done.best.name == "001-0.1"
    assert not (tmp_path / "s" / "ray").exists()


def test_ray_chooses_values_by_tpe(quick, tmp_path):
    done = quick(tmp_path / "s", {"lr": "0.1..0.9"}, search="tpe", trials=2)
    assert [trial.state for trial in done.trials] == ["finished", "finished"]


def test_ray_gives_up_hopeless_trials(quick, tmp_path):
    done = quick(tmp_path / "s", {"lr": "0.1,0.9"}, epochs=400, halving=2, grace=3)
    assert sorted(trial.state for trial in done.trials) == ["finished", "stopped"]


def test_a_killed_worker_is_replaced_and_its_trial_goes_on(quick, tmp_path):
    def kill_worker():
        while not list(tmp_path.glob("s/trials/*/metrics.csv")):
            time.sleep(0.05)
        (worker,) = processes_of(tmp_path / "s" / "trials").values()
        os.kill(worker, signal.SIGKILL)

    killer = threading.Thread(target=kill_worker)
    killer.start()
    done = quick(tmp_path / "s", {"lr": "0.1"}, epochs=300)
    killer.join()
    assert [(t.state, len(t.curve), starts(t)) for t in done.trials] == [("finished", 300, 2)]


def test_a_folder_that_a_node_does_not_see_is_refused(cluster, tmp_path, monkeypatch):
    (node,) = ray.nodes()
    monkeypatch.setattr(ray, "nodes", lambda: [node, node])
    backend._require_shared(ray, tmp_path)
    with pytest.raises(UsageError, match=r"The node .* of the Ray cluster doesn't see .*elsewhere\. Name a folder"):
        backend._require_shared(ray, tmp_path / "elsewhere")


def test_a_cluster_of_another_version_is_told_in_a_sentence(cluster, monkeypatch):
    from ray._private.utils import check_version_info

    def join(**_):
        check_version_info({"ray_version": "1.0.0", "python_version": "3.6.1"}, "node 10.0.0.7")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", join)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(XrayclsError) as told, backend._cluster(ray):
        pass
    assert "RAY_ADDRESS=10.0.0.1:6379" in str(told.value)
    assert "Ray: 1.0.0 Python: 3.6.1" in str(told.value)
    assert "Install here" in str(told.value)


@pytest.mark.usefixtures("cluster")  # where Ray can't start, the driver can't, either
def test_a_killed_driver_loses_nothing_and_both_backends_train_alike(tmp_path, tiny):
    settings = {"data": str(tiny), "weights": "none", "size": 32, "epochs": 8, "batch_size": 8, "device": "cpu"}
    flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    words = [sys.executable, "-m", "xraycls", "sweep", "train", *flags, "--over", "optimizer=adamax"]
    words += ["--backend", "ray", "--output", str(tmp_path / "s")]
    driver = subprocess.Popen(words)
    while not list(tmp_path.glob("s/trials/*/metrics.csv")):
        assert driver.poll() is None
        time.sleep(0.1)
    driver.kill()
    driver.wait()
    while processes_of(tmp_path / "s" / "trials"):
        time.sleep(0.2)
    (run,) = tmp_path.glob("s/trials/*")
    assert 0 < len(read_rows(run / "metrics.csv")) < 8
    assert subprocess.run(words, check=False).returncode == 0
    alone = xraycls.train(output=tmp_path / "alone", optimizer="adamax", **settings)
    timed = {"seconds", "waiting"}
    ours, theirs = (
        [{k: v for k, v in row.items() if k not in timed} for row in read_rows(folder / "metrics.csv")]
        for folder in (run, alone.run.path)
    )
    assert ours == theirs
    assert (run / "checkpoints/best.safetensors").read_bytes() == alone.run.best.read_bytes()
