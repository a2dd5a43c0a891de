"""A trained detector, and what it finds in pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from xraycls.errors import RunError
from xraycls.evaluation.detection.cases import DIVERGED
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.models.detection.base import Detector, Raw
from xraycls.types import Batch, Detections


@dataclass(frozen=True, slots=True)
class TrainedDetector:
    """A detector as it was trained; its output of a picture are :class:`~xraycls.types.Detections`.

    Attributes:
        detector: in evaluation mode, on its device.
        recipe: how its pictures are rendered.
        weights: the file it came from.
        engine: the engine that fed its training; None when unknown.
        precision: number format that it was validated in; None when unknown.
        pixels: whether boxes are in pixels of the picture's file ("source") or of the network's input ("input").
        bits: of the grey levels in 16-bit pictures that it was trained with; None when unknown.
    """

    detector: Detector
    recipe: ViewRecipe
    weights: Path
    engine: str | None = None
    precision: str | None = None
    pixels: Literal["source", "input"] = "source"
    bits: int | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the objects, in the order of the labels."""
        return self.detector.config.classes

    @property
    def network(self) -> str:
        """The network's name."""
        return self.detector.config.network

    @property
    def reported(self) -> float | None:
        """Score from which detections are reported; None where it wasn't chosen on validation."""
        return self.detector.config.reported

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.detector.mean.device

    def launch(self, images: torch.Tensor) -> Raw:
        """Returns the network's raw outputs for uint8 images [B, 1, H, W]."""
        raw: Raw = self.detector(images)
        return raw

    def outputs(self, raw: Raw, batch: Batch, names: Sequence[str]) -> list[Detections]:
        """Returns the detections of each picture.

        Raises:
            RunError: boxes that are not numbers, which come of broken weights or too low a precision.
        """
        detections = self.detector.detect(raw)
        if broken := [name for name, each in zip(names, detections, strict=True) if not np.isfinite(each.boxes).all()]:
            whole = all(bool(parameter.isfinite().all()) for parameter in self.detector.parameters())
            raise RunError(
                f"The model gives boxes that aren't numbers for {broken[0]}",
                f"Use --precision fp32 where it was half; otherwise {DIVERGED}"
                if whole
                else f"Its weights aren't all finite: {DIVERGED}",
            )
        if self.pixels == "input" or batch.matrices is None:
            return detections
        return [each.mapped(matrix) for each, matrix in zip(detections, batch.matrices.numpy(), strict=True)]
