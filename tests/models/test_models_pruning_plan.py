"""The widths of a pruned network as data, and layers that lose channels."""

import json

import pytest
import torch
from torch import nn

from xraycls.models.pruning_plan import PrunePlan, apply_plan, can_narrow, keep_channels, plan_between


def network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 6, 1), nn.Linear(6, 2)
    )


PLAN = PrunePlan({"0": (5, None), "1": (5, None), "2": (5, None), "3": (4, 5), "4": (None, 4)})


def test_a_plan_makes_a_fresh_network_narrow():
    net = network()
    first = net[3].weight.detach()[:4, :5]
    apply_plan(net, PLAN)
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items() if "num" not in name}
    assert shapes == {
        "0.weight": (5, 3, 3, 3), "0.bias": (5,),
        "1.weight": (5,), "1.bias": (5,), "1.running_mean": (5,), "1.running_var": (5,),
        "2.weight": (5, 1, 3, 3), "2.bias": (5,),
        "3.weight": (4, 5, 1, 1), "3.bias": (4,),
        "4.weight": (2, 4), "4.bias": (2,),
    }  # fmt: skip
    assert torch.equal(net[3].weight, first)
    assert (net[2].in_channels, net[2].out_channels, net[2].groups) == (5, 5, 5)
    assert (net[4].in_features, net[4].out_features, net[1].num_features) == (4, 2, 5)
    assert net[:4](torch.zeros(2, 3, 9, 9)).shape == (2, 4, 5, 5)


def test_a_plan_is_read_off_the_shapes_and_survives_json():
    narrow = network()
    apply_plan(narrow, PLAN)
    assert plan_between(network(), narrow.state_dict()) == PLAN
    assert plan_between(network(), network().state_dict()).layers == {}
    assert PrunePlan.parse(json.loads(json.dumps(PLAN.layers))) == PLAN


def test_plans_add_up_and_leave_out():
    later = PrunePlan({"0": (4, None), "3": (None, 4)})
    assert PLAN.then(later).layers == {**PLAN.layers, "0": (4, None), "3": (4, 4)}
    assert PLAN.without(("1", "4")).layers.keys() == {"0", "2", "3"}


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ({"5": (4, None)}, "no layer 5"),
        ({"0": (5, None), "1": (9, None)}, "1 is narrower"),
        ({"0": (5, None), "2": (5, 4)}, "2 is narrower"),
    ],
)
def test_the_plan_of_another_network_changes_nothing(layers, said):
    net = network()
    with pytest.raises(ValueError, match=said):
        apply_plan(net, PrunePlan(layers))
    assert plan_between(network(), net.state_dict()).layers == {}


@pytest.mark.parametrize("layers", [{"0": (0, None)}, {"0": ("5", None)}, {"0": (5,)}, {"0": 5}, ["0"], None])
def test_what_is_no_plan_is_refused(layers):
    with pytest.raises((TypeError, ValueError)):
        PrunePlan.parse(layers)


def test_layers_keep_channels_that_are_named():
    torch.manual_seed(0)
    conv, norm, linear = nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 5, bias=False)
    norm.running_mean.normal_()
    weight, bias, mean, matrix = (
        t.detach().clone() for t in (conv.weight, conv.bias, norm.running_mean, linear.weight)
    )
    conv.requires_grad_(False)
    kept, inputs = torch.tensor([0, 2, 5]), torch.tensor([1, 3])
    keep_channels(conv, kept, inputs)
    keep_channels(norm, kept)
    keep_channels(linear, inputs=kept)
    assert torch.equal(conv.weight, weight[kept][:, inputs])
    assert torch.equal(conv.bias, bias[kept])
    assert torch.equal(norm.running_mean, mean[kept])
    assert torch.equal(linear.weight, matrix[:, kept])
    assert not conv.weight.requires_grad
    assert linear.weight.requires_grad
    assert (conv.in_channels, conv.out_channels, norm.num_features, linear.in_features) == (2, 3, 3, 3)


def test_which_layers_can_be_narrowed():
    can = [nn.Conv2d(8, 4, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Linear(3, 2), nn.BatchNorm1d(3), nn.BatchNorm2d(3)]
    cannot = [
        nn.Conv2d(8, 8, 3, groups=4),
        nn.Conv2d(8, 16, 3, groups=8),
        nn.ConvTranspose2d(8, 8, 3),
        nn.GroupNorm(2, 8),
        nn.LayerNorm(8),
        nn.BatchNorm2d(3, affine=False),
        nn.ReLU(),
    ]
    assert all(map(can_narrow, can))
    assert not any(map(can_narrow, cannot))
