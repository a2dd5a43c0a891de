"""Writes original_unet.json: what the original U-Net and its box rule make of weights and maps by formula.

Run with ``model.py`` and ``metrics.py`` of trainML/pytorch-pneumonia-detection (commit a75c234) on the path and
scikit-image 0.26 in the environment: ``PYTHONPATH=.:UPSTREAM python tests/golden/make_original_unet.py``.
"""

import json
from pathlib import Path

import numpy as np
import torch
from metrics import average_precision_image, parse_boxes, prediction_string
from model import BCEWithLogitsLoss2d, PneumoniaUNET

from tests.models.formula import filled, formula_tensor

SIDE = 64
CELLS = 8
TRUTH = {"0": [[1, 9, 16, 24], [18, 26, 32, 40]], "1": [[2, 3, 40, 60], [48, 45, 9, 19], [17, 49, 22, 15]], "2": []}
"""Boxes of each map: left, top, width, height."""


def films() -> torch.Tensor:
    return (127.5 * (formula_tensor((2, 1, SIDE, SIDE), "films") + 1)).byte()


def targets() -> torch.Tensor:
    return (formula_tensor((2, 1, SIDE, SIDE), "targets") > 0.5).float()


def maps() -> np.ndarray:
    """Three maps of even blocks, [3, 1, 64, 64]; the last lies below every threshold."""
    blocks = (formula_tensor((3, 1, CELLS, CELLS), "maps").numpy() + 1) / 2
    blocks[2] *= 0.1
    return np.kron(blocks, np.ones((SIDE // CELLS, SIDE // CELLS), np.float32))


def unit_range(images: torch.Tensor) -> torch.Tensor:
    low, high = images.amin(dim=(1, 2, 3), keepdim=True), images.amax(dim=(1, 2, 3), keepdim=True)
    return (images - low) / (high - low)


def main() -> None:
    network = PneumoniaUNET()
    network.load_state_dict(filled(network.state_dict()))
    scaled = unit_range(films().float())
    with torch.inference_mode():
        evaluated = network.eval()(scaled)
    network.train()
    loss = BCEWithLogitsLoss2d()(network(scaled), targets())
    loss.backward()
    gradients = {name: each.grad.norm().item() for name, each in network.named_parameters() if each.ndim > 1}
    boxes = {}
    for threshold in (0.2, 0.6, 0.8):
        for number, each in enumerate(maps()):
            found, confidences = parse_boxes(each, threshold=threshold, rescale_factor=1024 // SIDE)
            precision = average_precision_image(found, confidences, TRUTH[str(number)], shape=SIDE)
            boxes[f"{threshold}/{number}"] = {
                "boxes": [[int(value) for value in box] for box in found],
                "confidences": [float(value) for value in confidences],
                "string": prediction_string(found, [float(value) for value in confidences]),
                "precision": None if np.isnan(precision) else precision,
            }
    golden = {
        "parameters": sum(each.numel() for each in network.parameters()),
        "state": [[name, list(tensor.shape)] for name, tensor in network.state_dict().items()],
        "logits": evaluated.double().flatten()[::7].tolist(),
        "loss": loss.item(),
        "gradients": gradients,
        "running_mean": network.up_1[1].bn.running_mean.double().tolist(),
        "truth": TRUTH,
        "boxes": boxes,
    }
    Path(__file__).with_name("original_unet.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
