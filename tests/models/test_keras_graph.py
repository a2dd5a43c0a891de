"""The graph of Keras layers that a network is written as."""

import pytest
import torch
from torch import nn

from xraycls.errors import UsageError
from xraycls.models.keras_graph import trace


class Sine(nn.Module):
    def forward(self, images):
        return images.sin()


def test_an_operator_without_a_layer_of_keras_is_one_sentence():
    with pytest.raises(UsageError, match=r"operator aten\.sin\S* has no layer of Keras"):
        trace(Sine().eval(), torch.zeros(1, 3, 8, 8), {}, "input_1")
