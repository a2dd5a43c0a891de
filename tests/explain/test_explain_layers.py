"""Outputs of layers as maps."""

import pytest
import torch
from torch import nn

from xraycls.explain.layers import MapLayer, from_maps, to_maps


def test_a_convolutions_output_is_the_maps():
    output = torch.randn(2, 7, 5, 5)
    assert to_maps(output) is output


def test_channels_in_the_last_axis_come_to_the_second():
    output = torch.randn(2, 5, 5, 7)
    maps = to_maps(output)
    assert maps.shape == (2, 7, 5, 5)
    assert torch.equal(maps[1, 3, 2, 4], output[1, 2, 4, 3])


@pytest.mark.parametrize(("prefix", "known"), [(1, 1), (1, None), (5, 5), (0, 0), (0, None), (2, None)])
def test_tokens_become_a_grid_row_by_row_without_those_in_front(prefix, known):
    output = torch.randn(2, prefix + 36, 7)
    maps = to_maps(output, known)
    assert maps.shape == (2, 7, 6, 6)
    assert torch.equal(maps[1, :, 2, 3], output[1, prefix + 2 * 6 + 3])


@pytest.mark.parametrize("shape", [(2, 7, 5, 6), (2, 7), (2, 3, 4, 5, 5)])
def test_other_shapes_are_no_grid(shape):
    with pytest.raises(ValueError, match="no grid"):
        to_maps(torch.zeros(shape))


def test_tokens_that_make_no_square_are_no_grid():
    with pytest.raises(ValueError, match="no grid"):
        to_maps(torch.zeros(1, 12, 4), prefix=1)


@pytest.mark.parametrize(("shape", "prefix"), [((2, 7, 5, 5), None), ((2, 5, 5, 7), None), ((2, 38, 7), 2)])
def test_maps_turn_back_into_the_output(shape, prefix):
    output = torch.randn(shape)
    assert torch.equal(from_maps(to_maps(output, prefix), output), output)


def test_a_layer_shows_its_maps_and_gives_what_it_gave():
    norm = nn.LayerNorm(7)
    layer = MapLayer(norm, 1)
    seen = []
    layer.maps.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    tokens = torch.randn(2, 26, 7)
    assert torch.equal(layer(tokens), norm(tokens))
    assert seen == [(2, 7, 5, 5)]
