"""Which epochs leave a model behind."""

import pytest

from xraycls.training.checkpoint import Checkpoints
from xraycls.training.reporter import Silent


class Listen(Silent):
    def __init__(self):
        self.told = []

    def message(self, text):
        self.told.append(text)


@pytest.mark.parametrize(
    ("interval", "trained", "kept"),
    [(1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (10, 3, [3]), (3, 6, [3, 6]), (10, 0, [])],
)
def test_every_interval_and_the_last_epoch(tmp_path, interval, trained, kept):
    """Training may stop early, and then its last epoch is kept all the same."""
    latest, listener = tmp_path / "last", Listen()
    checkpoints = Checkpoints(latest, lambda epoch: tmp_path / "weights" / str(epoch), interval, listener.message)
    for epoch in range(1, trained + 1):
        latest.unlink(missing_ok=True)
        latest.write_text(str(epoch))
        checkpoints(epoch, epoch == trained)
    assert sorted((path.name, path.read_text()) for path in tmp_path.glob("weights/*")) == [
        (str(epoch), str(epoch)) for epoch in kept
    ]
    assert listener.told == [
        f"Epoch {epoch:05d}: saving model to {tmp_path / 'weights' / str(epoch)}" for epoch in kept
    ]


def test_weights_that_a_kill_left_without_their_name_get_it(tmp_path):
    latest, listener = tmp_path / "last", Listen()
    latest.write_text("3")
    checkpoints = Checkpoints(latest, lambda epoch: tmp_path / "weights" / str(epoch), 2, listener.message)
    checkpoints.repair(3, False)  # not due
    checkpoints.repair(3, True)
    checkpoints.repair(3, True)
    assert (tmp_path / "weights" / "3").read_text() == "3"
    assert len(listener.told) == 1
