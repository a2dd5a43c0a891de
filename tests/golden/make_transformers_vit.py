"""Writes transformers_vit.json: what transformers' DINOv2 makes of weights and pictures by formula.

Run in an environment with transformers: ``PYTHONPATH=. python tests/golden/make_transformers_vit.py``.
"""

import json
from pathlib import Path

import torch
from transformers import Dinov2Config, Dinov2Model

from tests.models.formula import filled, formula_tensor


def main() -> None:
    config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=42, patch_size=14)
    network = Dinov2Model(config).eval()
    network.load_state_dict(filled(network.state_dict()))
    with torch.inference_mode():
        tokens = network(formula_tensor((2, 3, 42, 42), "pictures")).last_hidden_state
    golden = {
        "state": [[name, list(tensor.shape)] for name, tensor in network.state_dict().items()],
        "class_token": tokens[:, 0].double().tolist(),
    }
    Path(__file__).with_name("transformers_vit.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
