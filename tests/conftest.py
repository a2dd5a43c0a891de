"""Fixtures that every test may use."""

import os
from collections.abc import Callable
from pathlib import Path

# Two test processes on few cores: threads of a pool that wait for each other would cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import pytest
from hypothesis import settings

# No test asserts a time: on a busy machine an example of a moment ago takes ten times as long.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real radiographs and weights beside the checkout; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the real radiographs in ../shared, which are not part of the project")
    return SHARED


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests never touch the user's cache."""
    os.environ["XRAYCLS_CACHE"] = str(tmp_path_factory.getbasetemp() / "xraycls-cache")


@pytest.fixture(scope="session")
def draw_folder() -> Callable[..., Path]:
    """Writes an image folder of small JPEGs whose classes differ by a bright corner."""

    def draw(root: Path, counts: dict[str, int], side: int = 40) -> Path:
        rng = np.random.default_rng(0)
        for split, count in counts.items():
            for label, name in enumerate(("NORMAL", "PNEUMONIA")):
                folder = root / split / name
                folder.mkdir(parents=True)
                for number in range(count):
                    picture = rng.integers(20, 120, (side, side + 6), dtype=np.uint8)
                    if label:
                        picture[:18, :18] += 100
                    cv2.imwrite(str(folder / f"{split}-{name}-{number}.jpeg"), picture)
        return root

    return draw


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, draw_folder: Callable[..., Path]) -> Path:
    """An image folder that a network learns in seconds: 24 training, 8 validation and 8 test images."""
    return draw_folder(tmp_path_factory.mktemp("tiny") / "data", {"train": 12, "val": 4, "test": 4})
