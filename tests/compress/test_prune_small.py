"""Pruning of small networks, channel by channel, against the rule applied by hand."""

import copy
import math

import pytest
import torch
from torch import nn

from xraycls.compress.prune import count_parameters, prune
from xraycls.errors import MissingExtra, UsageError
from xraycls.models.pruning_plan import PrunePlan

SIDE = 8
PICTURE = torch.zeros(1, 3, SIDE, SIDE)


def unit(inputs, outputs, kernel=3, groups=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Chain(nn.Module):
    """Convolutions in a row, maps that are flattened, two linear layers."""

    def __init__(self):
        super().__init__()
        self.a = unit(3, 24)
        self.b = nn.Conv2d(24, 20, 3, padding=1)
        self.c = nn.Linear(20 * 4, 32)
        self.head = nn.Linear(32, 2)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.b(self.a(x))), 4)
        return self.head(torch.relu(self.c(x.flatten(1))))


class Residual(nn.Module):
    """Two sums in a row tie three convolutions; the one inside is free."""

    def __init__(self):
        super().__init__()
        self.a = unit(3, 24)
        self.b1, self.b2 = unit(24, 32), nn.Conv2d(32, 24, 3, padding=1)
        self.c = unit(24, 24, 1)
        self.head = nn.Linear(24, 2)

    def forward(self, x):
        x = self.a(x)
        x = x + self.b2(self.b1(x))
        x = x + self.c(x)
        return self.head(x.mean((2, 3)))


class Separable(nn.Module):
    """A depthwise convolution, gated by squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = unit(3, 24), unit(24, 24, 3, groups=24), unit(24, 40, 1)
        self.squeeze, self.excite = nn.Conv2d(24, 18, 1), nn.Conv2d(18, 24, 1)
        self.head = nn.Linear(40, 2)

    def forward(self, x):
        x = self.b(self.a(x))
        x = x * torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.head(self.c(x).mean((2, 3)))


class Branches(nn.Module):
    """Branches side by side, normalised together."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = unit(3, 24), unit(24, 20), unit(24, 28, 1)
        self.norm = nn.BatchNorm2d(48)
        self.d = nn.Conv2d(48, 32, 3)
        self.head = nn.Linear(32, 2)

    def forward(self, x):
        x = self.a(x)
        x = torch.relu(self.norm(torch.cat([self.b(x), self.c(x)], dim=1)))
        return self.head(self.d(x).mean((2, 3)))


# Layers that keep the same channels, and what takes them: batch normalisation, and inputs as (layer, first, values a
# channel).
GROUPS = {
    Chain: [
        (["a.0"], ["a.1"], [("b", 0, 1)]),
        (["b"], [], [("c", 0, 4)]),
        (["c"], [], [("head", 0, 1)]),
    ],
    Residual: [
        (["a.0", "b2", "c.0"], ["a.1", "c.1"], [("b1.0", 0, 1), ("c.0", 0, 1), ("head", 0, 1)]),
        (["b1.0"], ["b1.1"], [("b2", 0, 1)]),
    ],
    Separable: [
        (["a.0", "b.0", "excite"], ["a.1", "b.1"], [("squeeze", 0, 1), ("c.0", 0, 1)]),
        (["squeeze"], [], [("excite", 0, 1)]),
        (["c.0"], ["c.1"], [("head", 0, 1)]),
    ],
    Branches: [
        (["a.0"], ["a.1"], [("b.0", 0, 1), ("c.0", 0, 1)]),
        (["b.0"], ["b.1"], [("d", 0, 1)]),
        (["c.0"], ["c.1"], [("d", 20, 1)]),
        (["d"], [], [("head", 0, 1)]),
    ],
}
NORMS = {(Branches, "b.0"): ("norm", 0), (Branches, "c.0"): ("norm", 20)}
MERGE = {
    "union": max,
    "intersection": min,
    "arithmetic_mean": lambda values: sum(values) / len(values),
    "geometric_mean": lambda values: math.prod(values) ** (1 / len(values)),
}


def build(kind, seed=0):
    """A network whose filters differ in strength and whose batch normalisation has seen data."""
    torch.manual_seed(seed)
    net = kind()
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            strengths = torch.rand(len(module.weight)) ** 2
            module.weight.data *= strengths.view(-1, *[1] * (module.weight.ndim - 1))
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, std=0.3)
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return net


def kept_by_hand(net, layers, merge, normalizer, threshold, granularity, min_filters):
    stats = []
    for name in layers:
        weight = net.get_submodule(name).weight.detach()
        norms = [math.sqrt(float((row.double() ** 2).sum())) for row in weight]
        scale = {
            "max": 1 / max(norms),
            "L2": len(norms) / math.sqrt(sum(value**2 for value in norms)),
            "off": 1,
        }[normalizer]
        stats.append([value * scale for value in norms])
    together = [merge(values) for values in zip(*stats, strict=True)]
    count = max(sum(value > threshold for value in together), min(min_filters, len(together)))
    count = min(math.ceil(count / granularity) * granularity, len(together))
    return sorted(sorted(range(len(together)), key=lambda index: -together[index])[:count])


def pruned_by_hand(net, groups, **settings):
    """The state dict of the pruned network."""
    outputs, inputs = {}, {}
    for layers, norms, consumers in groups:
        kept = kept_by_hand(net, layers, **settings)
        for name in (*layers, *norms):
            outputs[name] = kept
        if place := NORMS.get((type(net), layers[0])):
            outputs.setdefault(place[0], []).extend(place[1] + channel for channel in kept)
        for name, first, values in consumers:
            inputs.setdefault(name, []).extend(first + channel * values + v for channel in kept for v in range(values))
    found = {}
    for name, tensor in net.state_dict().items():
        layer = name.rpartition(".")[0]
        if layer in outputs and tensor.ndim:
            tensor = tensor[outputs[layer]]
        if layer in inputs and name.endswith("weight"):
            tensor = tensor[:, inputs[layer]]
        found[name] = tensor
    return found


@pytest.mark.parametrize("kind", GROUPS)
@pytest.mark.parametrize("criterion", MERGE)
@pytest.mark.parametrize(("normalizer", "threshold"), [("max", 0.3), ("L2", 0.9), ("off", 0.2)])
def test_every_weight_is_the_one_that_the_rule_leaves(kind, criterion, normalizer, threshold):
    net = build(kind)
    settings = {"normalizer": normalizer, "threshold": threshold, "granularity": 2, "min_filters": 3}
    expected = pruned_by_hand(net, GROUPS[kind], merge=MERGE[criterion], **settings)
    report = prune(net, PICTURE, criterion=criterion, **settings)
    found = report.model.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert report.after < report.before
    assert report.after == sum(t.numel() for n, t in expected.items() if "num_batches" not in n)


def test_parameters_by_hand():
    report = prune(build(Chain), PICTURE, threshold=0.99, granularity=8, min_filters=16)
    before = 3 * 24 * 9 + 24 * 4 + 24 * 20 * 9 + 20 + 80 * 32 + 32 + 32 * 2 + 2
    after = 3 * 16 * 9 + 16 * 4 + 16 * 16 * 9 + 16 + 64 * 16 + 16 + 16 * 2 + 2
    assert (report.before, report.after) == (before, after)
    assert report.ratio == after / before
    widths = [(layer.name, layer.before, layer.after, layer.note) for layer in report.layers]
    assert widths == [
        ("a.0", 24, 16, ""),
        ("b", 20, 16, ""),
        ("c", 32, 16, ""),
        ("head", 2, 2, "an output of the network"),
    ]
    assert report.plan == PrunePlan(
        {"a.0": (16, None), "a.1": (16, None), "b": (16, 16), "c": (16, 64), "head": (None, 16)}
    )


@pytest.mark.parametrize("kind", GROUPS)
def test_silent_filters_can_go_without_a_trace(kind):
    """Filters of zeros, whose batch normalisation gives zeros, add nothing: the outputs stay the same."""
    net = build(kind).eval()
    generator = torch.Generator().manual_seed(1)
    for layers, norms, _ in GROUPS[kind]:
        width = len(net.get_submodule(layers[0]).weight)
        silent = torch.randperm(width, generator=generator)[: width // 3]
        for name in (*layers, *norms):
            for tensor in (net.get_submodule(name).weight, net.get_submodule(name).bias):
                if tensor is not None:
                    tensor.data[silent] = 0
        if place := NORMS.get((kind, layers[0])):
            net.get_submodule(place[0]).bias.data[place[1] + silent] = 0
            net.get_submodule(place[0]).running_mean[place[1] + silent] = 0
    report = prune(net, PICTURE, threshold=0, granularity=1, min_filters=1)
    assert [layer.after for layer in report.layers[:-1]] == [n.before - n.before // 3 for n in report.layers[:-1]]
    images = torch.randn(4, 3, SIDE, SIDE)
    with torch.no_grad():
        torch.testing.assert_close(report.model(images), net(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", GROUPS)
def test_more_is_removed_by_higher_thresholds_and_by_intersection(kind):
    net = build(kind)
    ratios = [prune(net, PICTURE, threshold=t, granularity=1, min_filters=1).ratio for t in (0, 0.05, 0.2, 0.4, 0.8)]
    assert ratios[0] == 1
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] < 0.6
    union, arithmetic, geometric, intersection = (
        prune(net, PICTURE, criterion=c, threshold=0.3, granularity=1, min_filters=1).ratio
        for c in ("union", "arithmetic_mean", "geometric_mean", "intersection")
    )
    assert union >= arithmetic >= geometric >= intersection


def test_granularity_and_minimum_hold_for_every_layer():
    report = prune(build(Separable), PICTURE, threshold=0.5, granularity=5, min_filters=12)
    assert all(n.after % 5 == 0 or n.after == n.before for n in report.layers if not n.note)
    assert all(n.after >= 12 for n in report.layers if not n.note)
    assert prune(build(Chain), PICTURE, threshold=2, granularity=7, min_filters=1).layers[0].after == 7


def test_the_original_stays_and_the_copy_is_in_its_state():
    net = build(Residual).train()
    net.a.requires_grad_(False)
    net.c.eval()
    before = copy.deepcopy(net.state_dict())
    report = prune(net, PICTURE, threshold=0.5, granularity=1, min_filters=1)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    for name, module in net.named_modules():
        assert module.training == report.model.get_submodule(name).training
    frozen = [name for name, parameter in report.model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["a.0.weight", "a.1.weight", "a.1.bias"]
    report.model(torch.randn(2, 3, SIDE, SIDE)).sum().backward()


def test_nothing_of_a_group_is_removed_when_one_of_it_is_excluded():
    settings = {"threshold": 0.8, "granularity": 1, "min_filters": 1}
    free = prune(build(Residual), PICTURE, **settings)
    kept = prune(build(Residual), PICTURE, excluded=["c.0"], **settings)
    assert {n.name for n in free.layers if n.after < n.before} == {"a.0", "b1.0", "b2", "c.0"}
    assert {n.name for n in kept.layers if n.after < n.before} == {"b1.0"}
    assert {n.name for n in kept.layers if "excluded" in n.note} == {"a.0", "b2", "c.0"}
    assert prune(build(Residual), PICTURE, excluded=["b1"], **settings).layers[1].after == 32  # all below a name


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"excluded": ["b3"]}, "Unknown layer 'b3' for -el. Did you mean"),
        ({"excluded": ["quite.another"]}, "Choose one of: a, b1, b2, c, head"),
        ({"criterion": "unions"}, "-eq. Did you mean union"),
        ({"normalizer": "l2"}, "-n. Did you mean L2"),
        ({"threshold": -0.1}, "-pth must be 0 or more, not -0.1"),
        ({"threshold": math.nan}, "-pth must be 0 or more"),
        ({"granularity": 0}, "-pg must be 1 or more"),
        ({"min_filters": 0}, "-nf must be 1 or more"),
    ],
)
def test_a_setting_that_means_nothing_is_one_sentence(settings, said):
    with pytest.raises(UsageError) as caught:
        prune(build(Residual), PICTURE, **settings)
    assert said in str(caught.value)


class Tied(nn.Module):
    """A network of two convolutions with something in between."""

    def __init__(self, between, channels=32, groups=1):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 32, 3), nn.Conv2d(channels, 32, 3, groups=groups)
        self.between = between
        self.head = nn.Linear(32, 2)

    def forward(self, x):
        return self.head(self.b(self.between(self.a(x))).mean((2, 3)))


class Do(nn.Module):
    """A function as a module, which Torch-Pruning follows through autograd."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


SHUFFLED = torch.arange(32).view(2, 16).T.flatten()


@pytest.mark.parametrize(
    "net",
    [
        Tied(nn.GroupNorm(4, 32)),
        Tied(nn.Identity(), groups=4),
        Tied(Do(lambda x: x[:, :16]), channels=16),
        Tied(Do(lambda x: x.chunk(2, dim=1)[0]), channels=16),
        Tied(Do(lambda x: x.unflatten(1, (2, 16)).transpose(1, 2).flatten(1, 2))),
    ],
    ids=["group norm", "grouped convolution", "slice", "chunk", "channel shuffle"],
)
def test_channels_that_something_else_counts_on_stay(net):
    report = prune(net, PICTURE, threshold=2, granularity=1, min_filters=1)
    assert report.layers[0].after == 32
    assert report.layers[0].note.startswith("it meets")


@pytest.mark.parametrize(
    ("places", "said"),
    [(lambda x: x[:, SHUFFLED], "out of bounds"), (lambda x: x.flip(1), "computes something else")],
    ids=["by index", "reversed"],
)
def test_channels_that_change_places_unseen_are_refused(places, said):
    net = Tied(Do(places))
    with pytest.raises(UsageError, match=f"Tied can't be pruned.*{said}"):
        prune(net, PICTURE, threshold=0.9, granularity=1, min_filters=1)
    assert prune(net, PICTURE, threshold=0.9, granularity=1, min_filters=1, excluded=["a"]).ratio < 1


def test_weights_that_are_not_finite_are_told():
    net = build(Chain)
    net.b.weight.data[3, 0, 0, 0] = math.nan
    with pytest.raises(UsageError, match="weights of b are not finite"):
        prune(net, PICTURE)


def test_without_torch_pruning_the_way_out_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch_pruning", None)
    with pytest.raises(MissingExtra, match=r"Torch-Pruning is not installed.*pip install .*torch-pruning"):
        prune(build(Chain), PICTURE)


def test_parameters_count_the_statistics_of_batch_normalisation():
    assert count_parameters(unit(3, 8, 1)) == 3 * 8 + 4 * 8
    assert count_parameters(nn.BatchNorm2d(8, track_running_stats=False)) == 16
