"""What people see of a training where there is no terminal."""

import io

import pytest
from rich.console import Console

from xraycls.progress import TrainingProgress

ROW = {"epoch": 3.0, "train_loss": 1.25, "val_loss": 2.5, "seconds": 61.0, "waiting": 0.1}


@pytest.mark.parametrize(
    ("figures", "shown"),
    [
        ({"val_auroc": 0.9, "val_accuracy": 0.8}, "val auroc 0.9000  val accuracy 0.8000"),
        ({"val_mAP": 0.49, "val_AP_opacity": 0.49}, "val mAP 0.4900"),
    ],
)
def test_an_epoch_is_a_line(figures, shown):
    lines = io.StringIO()
    with TrainingProgress(Console(file=lines, width=200)) as progress:
        progress.epoch(ROW | figures, improved=True)
    losses = "train loss 1.2500  val loss 2.5000"
    assert lines.getvalue() == f"epoch   3  {losses}  {shown}  61.0 s, waiting 10%  best so far\n"
