"""A stand-in for `xraycls train` in tests of sweeps: it writes metrics.csv, an epoch at a time, and resumes.

Trials misbehave as the variable SWEEP_TEST says, "2=kill,3=fail" by their numbers: ``kill`` ends itself once after its
first epoch, ``fail`` tells an error, ``slow`` never ends by itself. The loss of an epoch is the learning rate plus
1 / epoch.
"""

import os
import signal
import sys
import time
from pathlib import Path

options = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=False))
folder = Path(options["--output"])
number = folder.name.partition("-")[0].lstrip("0")
ways = dict(pair.split("=") for pair in os.environ.get("SWEEP_TEST", "").split(",") if pair)
way = ways.get(number, "")
with (folder / "starts.txt").open("a") as starts:
    starts.write(f"{os.environ.get('CUDA_VISIBLE_DEVICES', '')} {os.environ.get('OMP_NUM_THREADS', '')}\n")
if way == "fail":
    sys.exit("Error: There is no such thing. Name another.")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
metrics = folder / "metrics.csv"
rows = metrics.read_text().splitlines() if metrics.exists() else ["epoch,train_loss,val_loss,seconds"]
last = 10_000 if way == "slow" else int(options["--epochs"])
for epoch in range(len(rows), last + 1):
    loss = float(options.get("--learning-rate", 1)) + 1 / epoch
    rows.append(f"{epoch},{loss},{loss},0.5")
    (folder / "new").write_text("\n".join(rows) + "\n")
    (folder / "new").replace(metrics)
    if way == "kill" and epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
