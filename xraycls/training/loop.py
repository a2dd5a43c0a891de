"""The training loop, in the open: plain PyTorch, one step at a time, resumable at every step."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from xraycls.data.files import share_file
from xraycls.errors import TrainingError
from xraycls.loaders.sampler import Sampler
from xraycls.training.checkpoint import save_state
from xraycls.training.config import LoopConfig
from xraycls.training.distributed import all_sum, barrier, share_buffers
from xraycls.training.early_stopping import EarlyStopping
from xraycls.training.ema import moving_average
from xraycls.training.interrupt import Interrupted, StopWish, stop_on_signal
from xraycls.training.memory import freed_memory_kept
from xraycls.training.optimizers import set_learning_rate
from xraycls.training.precision import autocast
from xraycls.training.reporter import Reporter, StepReport
from xraycls.training.run_folder import RunFolder
from xraycls.training.runtime import DataTimer, Runtime
from xraycls.training.schedules import LearningRate
from xraycls.training.task import Task
from xraycls.types import Batch

# On an accelerator the host looks at the device only after so many steps: every look waits for its queue to drain.
_EXPLODED, _GROWN, _HARMLESS = 1e6, 100.0, 10.0
"""A loss above the first has diverged, and one that grew by the second from the smallest so far, above the third."""

_LOOK_EVERY = 20


class Loader(Protocol):
    """What the loop asks of an engine."""

    index_sampler: Sampler
    failures: dict[str, str]

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch and the batch that the next iteration starts from."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a training ended.

    Attributes:
        rows: of metrics.csv, one an epoch.
        best_epoch: counted from 1.
        best: value of the monitored metric there.
        stopped_early: whether patience ran out before the planned epochs.
    """

    rows: list[dict[str, float]]
    best_epoch: int
    best: float
    stopped_early: bool


@dataclass(frozen=True, slots=True)
class Messages:
    """The way out of what ends a training, in terms of the program that runs it.

    Attributes:
        not_finite: of a loss that is no number.
        stopped: of Ctrl-C, when all is saved.
    """

    not_finite: str
    stopped: str


class _TaskLoss(nn.Module):
    """The task's loss as a module, so that DDP and torch.compile see one forward pass."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model = model
        self.task = task

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.task.loss(self.model, batch)


class Training:
    """One training from its first step to its last.

    Args:
        model: on its device, head and freezing settled.
        task: loss and metrics.
        train: training batches.
        val: validation batches; None where there is nothing to validate with.
        config: the settings.
        run: where everything is written.
        runtime: device, precision and world.
        reporter: is told of every step and epoch.
        messages: ways out in the errors that it raises.
        rate: the learning rate before each step.
        optimizer: of the model's parameters.
        seal: encrypts the training state on disk; None leaves it readable.
        keep: called by the writing process with an epoch, counted from 1, and whether it is the last one, when its
            weights are written and the state doesn't know of them yet: whatever the state says exists, exists.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        train: Loader,
        val: Loader | None,
        config: LoopConfig,
        run: RunFolder,
        runtime: Runtime,
        reporter: Reporter,
        messages: Messages,
        rate: LearningRate,
        optimizer: torch.optim.Optimizer,
        seal: Callable[[bytes], bytes] | None = None,
        keep: Callable[[int, bool], None] = lambda epoch, last: None,
    ) -> None:
        self.model = model
        self.task = task
        self.train = train
        self.val = val
        self.config = config
        self.run = run
        self.runtime = runtime
        self.reporter = reporter
        self.stopping = EarlyStopping(config.patience, config.min_delta, config.higher_is_better)
        self.messages = messages
        self.rate = rate
        self.seal = seal
        self.keep = keep
        self.optimizer = optimizer
        self.scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.precision == "fp16")
        self.ema = moving_average(model, config.ema, config.ema_warmup) if config.ema else None
        self.scored = self._scored()
        self.epoch, self.step, self.plateaus = 0, 0, 0
        self._warned = False
        self.losses = torch.zeros(len(train), device=runtime.device)
        self.rows: list[dict[str, float]] = []
        self.saved = time.perf_counter()

    def fit(self) -> Outcome:
        """Train until the last epoch or until patience runs out.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; the state is saved.
            TrainingError: the loss isn't finite, or memory ran out.
        """
        with freed_memory_kept(), stop_on_signal() as wish:
            while not self.is_finished:
                started = time.perf_counter()
                self.model.train()
                data_seconds = self._train_epoch(wish) if self.step < len(self.train) else 0.0
                self._finish_epoch(wish, time.perf_counter() - started, data_seconds)
        return self.outcome()

    def outcome(self) -> Outcome:
        """Returns how the training ended, or has come along so far."""
        return Outcome(self.rows, self.stopping.best_epoch + 1, self.stopping.best, self.epoch < self.config.epochs)

    @property
    def is_finished(self) -> bool:
        """Whether the planned epochs are done or patience has run out."""
        return self.epoch >= self.config.epochs or self.stopping.should_stop

    @property
    def failures(self) -> list[str]:
        """The pictures that could not be read so far, by name."""
        return [str(name) for name in self.train.failures | (self.val.failures if self.val else {})]

    def state_dict(self) -> dict[str, Any]:
        """All that resuming needs: tensors, numbers and strings. Every process must ask for it."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "plateaus": self.plateaus,
            "losses": all_sum(self.losses.clone(), self.runtime.world).cpu(),
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "stopping": self.stopping.state_dict(),
            "rows": self.rows,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            ValueError: it is damaged, or of another network.
        """
        try:
            self._restore(state)
        except (AttributeError, LookupError, OverflowError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(next(iter(str(error).splitlines()), type(error).__name__)) from error

    def _restore(self, state: dict[str, Any]) -> None:
        self.epoch, self.step, self.plateaus = state["epoch"], state["step"], state["plateaus"]
        if self.runtime.world.is_main:  # the sum over all processes; looking at it adds them up again
            self.losses.copy_(state["losses"])
        self.model.load_state_dict(state["model"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.stopping.load_state_dict(state["stopping"])
        self.rows = copy.deepcopy(state["rows"])

    def _scored(self) -> nn.Module:
        scored: nn.Module = _TaskLoss(self.model, self.task)
        if self.config.compile:
            # CUDA graphs reuse their memory in every step: gradients that are still being summed would be lost.
            graphs = self.runtime.device.type == "cuda" and self.runtime.world.size == 1 and self.config.accumulate == 1
            scored = cast(nn.Module, torch.compile(scored, mode="reduce-overhead" if graphs else None))
        if self.runtime.world.size > 1:
            devices = [self.runtime.device.index] if self.runtime.device.type == "cuda" else None
            scored = DistributedDataParallel(scored, device_ids=devices)
        return scored

    def _train_epoch(self, wish: StopWish) -> float:
        """Go through the rest of an epoch; returns the seconds in which the device waited for the loader."""
        steps, images, timer = len(self.train), 0, DataTimer(self.runtime.device)
        started = self.saved = time.perf_counter()
        looked, look_every = self.step, 1 if self.runtime.device.type == "cpu" else _LOOK_EVERY
        self.train.set_epoch(self.epoch, self.step)
        timer.asked()
        for batch in self.train:
            timer.arrived()
            self._train_step(batch.to(self.runtime.device))
            images += self.train.index_sampler.valid(self.step - 1)
            if self._is_update(self.step - 1) and (self.step - looked >= look_every or self.step == steps):
                loss = self._look(wish)
                looked = self.step
                elapsed = time.perf_counter() - started
                speed, data_time = images / elapsed, timer.seconds / elapsed
                self.reporter.step(StepReport(self.epoch, self.config.epochs, self.step, steps, loss, speed, data_time))
            timer.asked()
        return timer.seconds

    def _train_step(self, batch: Batch) -> None:
        """One batch: forward, backward, and an optimiser step at the end of an accumulation group."""
        seed, world = self.config.seed, self.runtime.world
        # Dropout depends on the step and not on what came before, so a resumed run needs no generator state.
        torch.manual_seed(hash((seed, self.epoch, self.step, world.rank)) & 0x7FFFFFFFFFFFFFFF)
        if self.step == 0:
            self.losses.zero_()
        set_learning_rate(self.optimizer, self.learning_rate())
        update = self._is_update(self.step)
        local = isinstance(self.scored, DistributedDataParallel) and not update
        with self.scored.no_sync() if local else nullcontext():  # type: ignore[operator]
            with autocast(self.runtime.device, self.runtime.precision):
                loss = self.scored(batch)
            # DDP averages over processes; the sum over all of them is divided by the group's samples.
            self.scaler.scale(loss * (world.size / self._group_size())).backward()
        self.losses[self.step] = loss.detach()
        if update:
            self._update()
        self.step += 1

    def _update(self) -> None:
        if self.config.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.update_parameters(self.model)

    def _is_update(self, step: int) -> bool:
        return (step + 1) % self.config.accumulate == 0 or step + 1 == len(self.train)

    def _group_size(self) -> int:
        """Samples of the present accumulation group, over all processes."""
        first = self.step - self.step % self.config.accumulate
        last = min(first + self.config.accumulate, len(self.train))
        return self.train.index_sampler.samples_before(last) - self.train.index_sampler.samples_before(first)

    def learning_rate(self) -> float:
        """The learning rate of the present step."""
        steps = len(self.train)
        return self.rate.at(self.epoch * steps + self.step, self.config.epochs * steps, self.plateaus)

    def _look(self, wish: StopWish) -> float:
        """Look at the device: the mean loss so far. All processes agree here to stop, to save, or to fail."""
        due = self.runtime.world.is_main and time.perf_counter() - self.saved > 60 * self.config.save_minutes
        wishes = torch.tensor([float(wish.wanted), float(due)], device=self.runtime.device)
        sums = all_sum(torch.cat([self.losses, wishes]), self.runtime.world).cpu()
        stop, save = sums[-2:].tolist()
        bad = torch.nonzero(~sums[: self.step].isfinite())
        if len(bad):
            raise TrainingError(
                f"The loss is not a finite number at epoch {self.epoch + 1}, batch {int(bad[0]) + 1}",
                self.messages.not_finite,
            )
        if stop or (save and self.step < len(self.train)):
            self._save_state()
        if stop:
            raise Interrupted(
                f"Stopped at epoch {self.epoch + 1}, batch {self.step} of {len(self.train)}", self.messages.stopped
            )
        return float(sums[: self.step].sum()) / self.train.index_sampler.samples_before(self.step)

    def _finish_epoch(self, wish: StopWish, seconds: float, data_seconds: float) -> None:
        """Validate, note the epoch, and save: weights first, then the table, then the state that counts."""
        rate = self.learning_rate()
        row = {"epoch": self.epoch + 1.0, "learning_rate": rate, "train_loss": self._look(wish)}
        evaluated: nn.Module = self.ema.module if self.ema else self.model
        share_buffers(evaluated, self.runtime.world)
        improved = False
        self.task.reset()
        if self._is_validated():
            row |= {f"val_{name}": value for name, value in self.validate(evaluated).items()}
        monitored = row.get(self.config.monitor, row.get(f"val_{self.config.monitor}"))
        if monitored is not None:
            improved = self._note(monitored)
        self._warn(row["train_loss"], monitored)
        row |= {"seconds": seconds, "waiting": data_seconds / max(seconds, 1e-9)}
        self.rows.append(row)
        self.epoch, self.step = self.epoch + 1, 0
        if self.runtime.world.is_main:
            settings = {"epoch": str(self.epoch), "precision": self.runtime.precision}
            self.task.save(evaluated, self.run.last, settings)
            if improved:
                share_file(self.run.last, self.run.best)
            self.keep(self.epoch, self.is_finished)
            self.run.write_metrics(self.rows)
        self._save_state()
        self.reporter.epoch(row, improved)

    def _is_validated(self) -> bool:
        """Whether the present epoch ends with a validation; the last one always does."""
        done = self.epoch + 1
        return self.val is not None and (done % self.config.validate_every == 0 or done == self.config.epochs)

    def _note(self, value: float) -> bool:
        """Tell early stopping and the plateau schedule of the monitored metric; whether it is the best so far."""
        misses = self.stopping.misses
        improved = self.stopping.update(value, self.epoch)
        patience = self.config.plateau_patience
        if patience and not improved and (misses + 1) % patience == 0:
            self.plateaus += 1
        return improved

    def _warn(self, loss: float, monitored: float | None) -> None:
        """Say what a user should not find out at the end: a loss that has blown up, and a metric that is no number."""
        smallest = min((row["train_loss"] for row in self.rows), default=math.inf)
        if loss > _EXPLODED or loss > max(_GROWN * smallest, _HARMLESS):
            self.reporter.message(
                f"The training loss of epoch {self.epoch + 1} is {loss:.3g}: the training diverges. "
                f"{self.messages.not_finite}."
            )
        if monitored is not None and math.isnan(monitored) and not self._warned:
            self._warned = True
            self.reporter.message(
                f"{self.config.monitor} is no number on the validation images, so no epoch is better than another by "
                "it. Monitor the loss, or validate on images of every class."
            )

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Returns the figures of the validation split, the same on every process."""
        model.eval()
        for batch in self.val or ():
            with torch.inference_mode(), autocast(self.runtime.device, self.runtime.precision):
                self.task.update(model, batch.to(self.runtime.device))
        return self.task.compute(self.runtime.world)

    def _save_state(self) -> None:
        state = self.state_dict()
        if self.runtime.world.is_main:
            save_state(state, self.run.state, self.seal)
        barrier(self.runtime.world)
        self.saved = time.perf_counter()
