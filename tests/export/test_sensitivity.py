"""Which layers stay in floating point where the others compute in 8 bits."""

import copy

import numpy as np
import pytest
import torch

from tests.export import networks
from xraycls.export import sensitivity
from xraycls.export.quantized import quantized_copy
from xraycls.export.sensitivity import NOISE, joined, units_of
from xraycls.models.quantization import plan_quantization, unquantized


def pictures(number: int, size: int) -> np.ndarray:
    smooth = torch.rand(number, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    grown = torch.nn.functional.interpolate(smooth, (size, size), mode="bilinear")
    return (grown * 255).byte().numpy()


def test_a_layer_whose_channels_differ_by_orders_of_magnitude_stays_in_floating_point():
    even = networks.classifier(size=32)
    torch.manual_seed(1)
    with torch.no_grad():  # logits that differ between pictures, as those of a trained network
        even.net.fc.weight.mul_(20)
    uneven = copy.deepcopy(even)
    block = uneven.net.layer1[0]
    with torch.no_grad():  # the same function, as a ReLU passes factors on
        for tensor in (block.bn1.weight, block.bn1.bias):
            tensor[0] *= 1000
        block.conv2.weight[:, 0] /= 1000
    films = pictures(16, 32)
    assert "layer1.0.conv2" not in unquantized(quantized_copy(even, films, "max").net)
    made = quantized_copy(uneven, films, "max")
    assert "layer1.0.conv2" in unquantized(made.net)
    assert len(unquantized(made.net)) < 10
    images = torch.from_numpy(films)
    with torch.no_grad():
        logits = uneven(images)
        assert torch.allclose(even(images), logits, atol=1e-3)
        error = (made(images) - logits).square().mean() / logits.var()
    assert error < 2 * NOISE


@pytest.mark.parametrize("build", [networks.classifier, networks.ssd])
def test_parts_that_can_be_left_out_are_together_the_plan(build):
    model = build()
    size = (64, 64) if build is networks.classifier else (64, 96)
    plan = plan_quantization(model.net, lambda: model(torch.zeros(1, 1, *size, dtype=torch.uint8)))
    whole = joined(units_of(plan))
    for kind in ("layers", "inputs", "outputs"):
        assert sorted(getattr(whole, kind)) == sorted(getattr(plan, kind))


def test_a_network_that_is_hurt_everywhere_is_quantised_with_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(sensitivity, "NOISE", 0.0)
    made = quantized_copy(networks.classifier(size=32), pictures(4, 32), "max")
    assert unquantized(made.net) == []
    assert "so all are quantised" in caplog.text
