"""What U-Nets have in common: probability maps, and boxes that a rule reads from them."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.recipes.unet import UNetRecipe
from xraycls.loaders.views import Canvas
from xraycls.models.detection.base import Detector, Raw
from xraycls.models.detection.map_boxes import BoxRule, Floats, boxes_of_maps
from xraycls.models.detection.suppression import suppress
from xraycls.types import Detections


class MapDetector(Detector):
    """A detector whose raw outputs are maps, the logits of masks [B, classes, h, w] first."""

    @property
    @abstractmethod
    def rule(self) -> BoxRule:
        """How maps become boxes."""

    @abstractmethod
    def probability_maps(self, raw: Raw) -> Raw:
        """Returns probabilities of masks [B, classes, h, w] and of pictures with such an object [B, classes].

        A network with centres adds their probabilities [B, classes, h, w] and the box [B, h, w, 4] that each cell
        gives, in cells.
        """

    def detect(self, raw: Raw) -> list[Detections]:
        """The boxes of every picture, the less certain ones of the tail included."""
        mask, pictures, *rest = (part.detach().float().cpu().numpy() for part in self.probability_maps(raw))
        heat, sides = rest or (None, None)
        size = (self.config.width, self.config.height)
        return boxes_of_maps(mask, pictures, heat, sides, rule=self.rule, size=size, suppress=self._suppress)

    def maps(self, raw: Raw) -> Tensor:
        """Probabilities of the masks, [B, classes, h, w]."""
        return raw[0].float().sigmoid()

    def evaluation_recipe(self) -> ViewRecipe:
        """Whole pictures, squeezed onto the input."""
        return UNetRecipe(Canvas(self.config.height, self.config.width))

    def _suppress(self, scores: Floats, boxes: Floats) -> Detections:
        rules = self.config.suppression
        kept = suppress(
            torch.from_numpy(scores),
            torch.from_numpy(np.ascontiguousarray(boxes)),
            confidence=rules.confidence,
            iou=rules.iou,
            top_k=rules.top_k,
        )
        return Detections(*(part.numpy() for part in kept))
