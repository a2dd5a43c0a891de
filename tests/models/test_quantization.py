"""What of a network is quantised, how it rounds, and that files keep it."""

import numpy as np
import pytest
import torch
from torch.ao.quantization import MovingAverageMinMaxObserver

from tests.export import networks
from xraycls.compress.prune import prune
from xraycls.errors import UsageError
from xraycls.models.classifier import load_classifier, save_classifier
from xraycls.models.quantization import (
    FakeQuantizer,
    QuantizationPlan,
    plan_of,
    plan_quantization,
    quantize,
    quantizers_of,
    remove_quantization,
)


def planned(model, height, width):
    blank = torch.zeros(1, 1, height, width, dtype=torch.uint8)
    return plan_quantization(model.net, lambda: model(blank))


def test_a_range_follows_what_it_sees_as_torchs_observer_does():
    ours, theirs = FakeQuantizer().train(), MovingAverageMinMaxObserver(qscheme=torch.per_tensor_symmetric)
    values = (
        torch.randn(20, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        * torch.linspace(1, 3, 20)[:, None, None, None]
    )
    values[:, 0, 0, 0] = values.abs().amax(dim=(1, 2, 3))  # both ends are alike
    values[:, 0, 0, 1] = -values[:, 0, 0, 0]
    for batch in values:
        ours(batch)
        theirs(batch)
    assert ours.limit == pytest.approx(float(theirs.max_val), rel=1e-5)


def test_all_convolutions_of_an_ssd_are_quantised_with_what_its_residual_sums_add():
    plan = planned(networks.ssd(), 64, 96)
    detector = networks.ssd()
    convolutions = [path for path, m in detector.net.named_modules() if isinstance(m, torch.nn.Conv2d)]
    assert list(plan.layers) == convolutions
    # As TAO: normalisations that no ReLU follows, which are those before a sum.
    blocks = [path for path in convolutions if path.endswith("downsample.0")]
    ends = {path.replace("downsample.0", end) for path in blocks for end in ("downsample.1", "bn2")}
    assert set(plan.outputs) == ends
    assert len(blocks) == 4


def test_a_shortcut_has_the_values_that_its_block_computes_with():
    plan = planned(networks.classifier(), 64, 64)
    assert "layer1.0" in plan.inputs  # the block rounds for its convolution and for the shortcut
    assert "layer1.0.conv1" not in plan.inputs
    assert "layer1.0.conv2" in plan.inputs


@pytest.mark.exhaustive
def test_attention_of_a_transformer_is_quantised_by_its_linear_layers():
    plan = planned(networks.NETWORKS["vit"](), 64, 64)
    assert {"blocks.0.attn.qkv", "blocks.0.attn.proj", "blocks.0.mlp.fc1", "head"} <= set(plan.layers)
    assert not plan.outputs


def test_a_network_without_its_quantisers_is_what_it_was():
    classifier = networks.classifier()
    images = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        before = classifier(images)
        quantize(classifier.net, planned(classifier, 64, 64))
        for quantizer in quantizers_of(classifier.net).values():
            quantizer.limit.fill_(3.0)
        assert not torch.equal(classifier(images), before)
        remove_quantization(classifier.net)
        assert torch.equal(classifier(images), before)
    assert not plan_of(classifier.net)


def test_gradients_of_weights_pass_the_rounding():
    classifier = networks.classifier().train()
    quantize(classifier.net, planned(classifier.eval(), 64, 64))
    classifier.train()
    logits = classifier(torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8))
    logits.sum().backward()
    assert all(bool(p.grad.abs().sum() > 0) for p in classifier.net.parameters() if p.ndim == 4)


def test_a_file_keeps_ranges_and_what_is_quantised(tmp_path):
    classifier = networks.classifier()
    quantize(classifier.net, planned(classifier, 64, 64))
    for number, quantizer in enumerate(quantizers_of(classifier.net).values(), 1):
        quantizer.limit.fill_(number)
    save_classifier(classifier, tmp_path / "model.safetensors")
    again, _ = load_classifier(tmp_path / "model.safetensors")
    assert plan_of(again.net) == plan_of(classifier.net)
    images = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        assert np.array_equal(again(images), classifier(images))


def test_a_plan_of_another_network_changes_nothing():
    classifier = networks.classifier()
    with pytest.raises(ValueError, match=r"no layer elsewhere that could be quantised"):
        quantize(classifier.net, QuantizationPlan(("conv1", "elsewhere")))
    assert not plan_of(classifier.net)


def test_a_quantised_network_is_not_pruned():
    classifier = networks.classifier()
    quantize(classifier.net, planned(classifier, 64, 64))
    with pytest.raises(UsageError, match=r"trained for 8 bits \(QAT\) can't be pruned.*Prune it first"):
        prune(classifier.net, torch.zeros(1, 3, 64, 64))
