"""Writes torchxrayvision.json: what torchxrayvision's DenseNet makes of weights and pictures by formula.

Run in an environment with torchxrayvision 1.5.7: ``PYTHONPATH=. python tests/golden/make_torchxrayvision.py``. The
network is loaded by torchxrayvision itself from a file as it publishes them, a network pickled whole.
"""

import json
import tempfile
from pathlib import Path

import torch
import torchxrayvision as xrv

from tests.models.formula import filled, formula

NAME = "densenet121-res224-nih"
SIDE = 64


def pictures() -> torch.Tensor:
    levels = 127.5 * (formula(2 * SIDE * SIDE, "pictures") + 1)
    return torch.from_numpy(levels.astype("uint8").reshape(2, 1, SIDE, SIDE))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        network = xrv.models.DenseNet()
        network.load_state_dict(filled(network.state_dict()))
        torch.save(network, Path(folder, Path(xrv.models.model_urls[NAME]["weights_url"]).name))
        network = xrv.models.DenseNet(weights=NAME, cache_dir=folder)
        network.op_threshs = None  # its logits, before any threshold
        del network.input_resolution  # pictures as they are
        scaled = torch.from_numpy(xrv.datasets.normalize(pictures().numpy(), 255)).float()
        with torch.inference_mode():
            logits = network(scaled)
    golden = {
        "side": SIDE,
        "outputs": network.pathologies,
        "file": Path(xrv.models.model_urls[NAME]["weights_url"]).name,
        "state": [[name, list(tensor.shape)] for name, tensor in list(network.state_dict().items())[:4]],
        "tensors": len(network.state_dict()),
        "logits": logits.double().tolist(),
        "published": {
            name: [Path(known["weights_url"]).name, known["labels"], known["input_resolution"]]
            for name, known in xrv.models.model_urls.items()
            if "-res" in name
        },
    }
    Path(__file__).with_name("torchxrayvision.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
