"""Trials on a Ray cluster: Ray Tune places them, starts lost ones again and gives up hopeless ones.

One trial of Ray is one run folder, which holds all that is needed to go on: Ray's own checkpoints aren't used, and
nothing that it writes is read again. A function in Ray's worker starts the same child process as the local backend.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xraycls.data.processors import available_processors
from xraycls.errors import MissingExtra, UsageError, XrayclsError
from xraycls.training.interrupt import Interrupted
from xraycls.workflows.sweep.child import RESTARTS, reason_of, start
from xraycls.workflows.sweep.folder import Goal, Trial

if TYPE_CHECKING:  # its modules import torch, which a worker of Ray has no use for
    from xraycls.workflows.sweep.board import Board

_STORAGE = "ray"
"""Ray's own files below the sweep's folder, while it runs."""

_OBJECTS = 100_000_000  # bytes of shared memory: results are a few numbers
_PAUSE = 1.0  # seconds between two looks at a trial
_ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # 15 by default: on a machine that others use, trials would starve
    "RAY_USAGE_STATS_ENABLED": "0",
    # A busy machine takes longer than Ray's 30 seconds to start its processes, and what waits for them gives up.
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the run folders have tables and events of their own
}


def run_on_ray(board: Board, workers: int) -> None:
    """Run the trials of a board on the cluster of RAY_ADDRESS, or on one that lasts as long as the sweep.

    Args:
        board: hands out the trials.
        workers: trials at a time, 1 or more.

    Raises:
        MissingExtra: Ray isn't installed.
        UsageError: the cluster has several nodes, and one doesn't see the sweep's folder.
        Interrupted: Ctrl-C; every trial is saved.
    """
    ray = require_ray()
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    with _cluster(ray):
        _require_shared(ray, board.folder)
        resources = ray.cluster_resources()
        processors = max(int(resources.get("CPU", 1)) // workers, 1)
        needs = {"cpu": processors, "gpu": 1 if resources.get("GPU") else 0}
        threads = None if workers == 1 else processors
        mode = "max" if board.goal.higher_is_better else "min"
        halving = board.halving and ASHAScheduler(
            time_attr="epoch",
            metric="value",
            mode=mode,
            grace_period=board.halving.grace,
            reduction_factor=board.halving.factor,
            max_t=board.halving.epochs + 1,  # at this one Ray would stop a trial that is about to end by itself
        )
        storage = board.folder / _STORAGE
        shutil.rmtree(storage, ignore_errors=True)
        search = _search(board, mode)
        try:
            tune.Tuner(
                tune.with_resources(tune.with_parameters(_train, goal=board.goal, threads=threads), needs),
                tune_config=tune.TuneConfig(
                    search_alg=search, scheduler=halving, num_samples=-1, max_concurrent_trials=workers
                ),
                run_config=tune.RunConfig(
                    name="trials",
                    storage_path=str(storage),
                    failure_config=tune.FailureConfig(max_failures=RESTARTS),
                    verbose=0,
                ),
            ).fit()
        except (ray.exceptions.RayError, tune.TuneError) as error:
            raise XrayclsError(f"Ray could not run the trials: {_first_line(error)}") from error
        finally:
            shutil.rmtree(storage, ignore_errors=True)
    for trial in board.trials:
        if trial.state == "running":
            board.end(trial, "waiting")
    if any(trial.state == "waiting" for trial in board.trials):
        raise Interrupted(
            f"Stopped with {sum(trial.is_over for trial in board.trials)} of {len(board.trials)} trials done",
            f"All is saved; go on with: xraycls sweep {board.folder} --backend ray",
        )


def _train(config: dict[str, Any], goal: Goal, threads: int | None) -> None:
    """Train one trial in a worker of Ray, and report every epoch.

    A trial that fails by itself would fail again: it is noted, and only one that was killed is an error of Ray's.
    """
    from ray import tune

    trial = Trial.read(Path(config["folder"]))
    process = start(trial, threads)
    reported, code = 0, None
    while code is None:
        time.sleep(_PAUSE)
        code = process.poll()
        curve = trial.measured(goal).curve
        for epoch in range(reported + 1, len(curve) + 1):
            tune.report({"epoch": epoch, "value": curve[epoch - 1]})
        reported = len(curve)
    if code == 0:
        trial.ended("finished")
    elif code < 0:
        raise RuntimeError(reason_of(trial, code))
    elif code == 130:
        trial.ended("waiting")
    else:
        trial.ended("failed", reason_of(trial, code))


def _search(board: Board, mode: str) -> Any:
    """What Ray asks for the next trial and tells how each gets on."""
    from ray.tune.search import Searcher

    class Search(Searcher):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(metric="value", mode=mode)
            self.trials: dict[str, Trial] = {}

        def __reduce__(self) -> Any:
            return dict, ()  # Ray pickles all it is given, for a way to go on that isn't used here

        def suggest(self, trial_id: str) -> Any:
            trial = board.next_trial()
            if trial is None:
                return Searcher.FINISHED
            self.trials[trial_id] = trial
            return {"folder": str(trial.folder)}

        def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
            self.trials[trial_id] = board.look(self.trials[trial_id])

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            trial = self.trials[trial_id]
            kept = Trial.read(trial.folder)
            if error:
                board.end(trial, "failed", f"Killed {RESTARTS + 1} times")
            elif kept.state in ("finished", "failed"):
                board.end(trial, kept.state, kept.reason)
            else:  # its worker was stopped, which halving does; else it waits to be gone on with
                board.end(trial, "stopped" if board.halving else "waiting")

    return Search()


@contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS, or start one on this machine for the duration of a block."""
    if ray.is_initialized():
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    local = {"num_cpus": available_processors(), "include_dashboard": False, "object_store_memory": _OBJECTS}
    address = os.environ.get("RAY_ADDRESS")
    try:
        ray.init(**quiet, **({} if address else local))
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        what = f"joined at RAY_ADDRESS={address}" if address else "started on this machine"
        other = "Version mismatch" in str(error)  # in several lines, all of which matter
        reason = " ".join(str(error).split()) if other else _first_line(error)
        way_out = "Install here the Python and the Ray that the cluster has" if other else None
        raise XrayclsError(f"No Ray cluster could be {what}: {reason}", way_out) from error
    try:
        yield
    finally:
        ray.shutdown()


def _require_shared(ray: Any, folder: Path) -> None:
    """Raise UsageError where a node of a cluster doesn't see the sweep's folder: trials couldn't go on elsewhere."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2:
        return
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    sees = ray.remote(num_cpus=0)(Path.is_dir)
    for node in nodes:
        here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        if not ray.get(sees.options(scheduling_strategy=here).remote(folder)):
            raise UsageError(
                f"The node {node['NodeManagerAddress']} of the Ray cluster doesn't see {folder}",
                "Name a folder that all nodes share with --output",
            )


def require_ray() -> Any:
    """Returns Ray's module; raises MissingExtra where it isn't installed."""
    for name, value in _ENVIRONMENT.items():  # before the import, which reads some of them
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.tune
    except ImportError as error:
        raise MissingExtra("Ray Tune, which --backend ray needs,", "ray") from error
    return ray


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
