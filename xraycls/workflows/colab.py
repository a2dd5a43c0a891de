"""Google Colab: runs go to the user's Drive, where they outlive the machine."""

from __future__ import annotations

from pathlib import Path

from xraycls.errors import UsageError

DRIVE = Path("/content/drive/MyDrive")


def drive_runs(drive: Path = DRIVE) -> Path:
    """The folder for runs on the mounted Drive.

    Raises:
        UsageError: the Drive is not mounted; says how.
    """
    if not drive.is_dir():
        raise UsageError(
            f"--colab writes below {drive}, which is not mounted",
            "Run \"from google.colab import drive; drive.mount('/content/drive')\" in a cell first",
        )
    return drive / "xraycls" / "runs"
