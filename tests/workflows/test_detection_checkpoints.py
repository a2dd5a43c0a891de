"""Which epochs leave a model behind."""

import pytest

from xraycls.training.reporter import Silent
from xraycls.workflows.detection.checkpoints import Checkpoints


@pytest.mark.parametrize(
    ("interval", "trained", "kept"),
    [(1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (10, 3, [3]), (3, 6, [3, 6]), (10, 0, [])],
)
def test_every_interval_and_the_last_epoch(tmp_path, interval, trained, kept):
    """Of six planned: training may stop early, and then its last epoch is kept all the same."""
    latest, told = tmp_path / "last", []

    class Listen(Silent):
        def message(self, text):
            told.append(text)

    checkpoints = Checkpoints(Listen(), latest, lambda epoch: tmp_path / "weights" / str(epoch), interval, 6)
    for epoch in range(1, trained + 1):
        latest.unlink(missing_ok=True)
        latest.write_text(str(epoch))
        checkpoints.epoch({"epoch": float(epoch)}, improved=False)
    checkpoints.finish()
    assert sorted((path.name, path.read_text()) for path in tmp_path.glob("weights/*")) == [
        (str(epoch), str(epoch)) for epoch in kept
    ]
    assert told == [f"Epoch {epoch:05d}: saving model to {tmp_path / 'weights' / str(epoch)}" for epoch in kept]
