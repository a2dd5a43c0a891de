"""What stands between the maps of a detector and its heads: DSSD's modules (Fu et al. 2017), as TAO builds them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from xraycls.models.backbones import BodyOptions

Size = tuple[int, int]
"""Height and width."""

LAYER_NAMES: tuple[tuple[str, str], ...] = (
    (r"deconvolutions\.(ssd_shrink_block_0)", r"\1"),
    (r"deconvolutions\.blocks\.(\d)\.fine\.0\.0", r"dssd_large_conv_0_block_\1"),
    (r"deconvolutions\.blocks\.(\d)\.fine\.0\.1", r"dssd_large_bn_0_block_\1"),
    (r"deconvolutions\.blocks\.(\d)\.fine\.1", r"dssd_large_conv_1_block_\1"),
    (r"deconvolutions\.blocks\.(\d)\.fine\.2", r"dssd_large_bn_1_block_\1"),
    (r"deconvolutions\.blocks\.(\d)\.coarse\.0\.corners", r"dssd_small_deconv_block_\1"),
    (r"deconvolutions\.blocks\.(\d)\.coarse\.1", r"dssd_small_conv_block_\1"),
    (r"deconvolutions\.blocks\.(\d)\.coarse\.2", r"dssd_small_bn_block_\1"),
    (r"predictions\.blocks\.(\d)\.residual\.([012])(?:\.0)?", r"ssd_mpred_conv_\2_block_\1"),
    (r"predictions\.blocks\.(\d)\.residual\.([01])\.1", r"ssd_mpred_bn_\2_block_\1"),
    (r"predictions\.blocks\.(\d)\.residual\.3", r"ssd_mpred_bn_2_block_\1"),
    (r"predictions\.blocks\.(\d)\.skip\.0", r"ssd_mpred_conv_3_block_\1"),
    (r"predictions\.blocks\.(\d)\.skip\.1", r"ssd_mpred_bn_3_block_\1"),
)
"""Paths of layers in an SSD with these modules, as regular expressions, and TAO's names of what they match."""

_SHRUNK = 256


class Deconvolutions(nn.Module):
    """From maps, the finest first, to maps of the same sizes that know what the coarser ones saw.

    The coarsest map stays as it is. Every finer one is multiplied with what is deconvolved of its coarser neighbour,
    which has been through this before (figures 1 and 3 of the paper).

    Args:
        channels: of the maps.
        sizes: of the maps; each must be twice the next one, or differ from that by one, as rounding makes it.
        shrink: whether a 1x1 convolution first gives the finest map 256 channels, as TAO does on light backbones.

    Attributes:
        channels: of the maps that come out.
    """

    def __init__(self, channels: Sequence[int], sizes: Sequence[Size], *, shrink: bool = False) -> None:
        super().__init__()
        self.channels = (_SHRUNK if shrink else channels[0], *channels[1:])
        self.ssd_shrink_block_0 = nn.Conv2d(channels[0], _SHRUNK, 1, bias=False) if shrink else nn.Identity()
        self.blocks = nn.ModuleList()  # the coarsest first, as TAO numbers them
        for finer in reversed(range(len(channels) - 1)):
            inputs, outputs = self.channels[finer + 1], self.channels[finer]
            self.blocks.append(_Deconvolution(inputs, outputs, sizes[finer + 1], sizes[finer]))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps [b, c, h, w] of as many, the finest first."""
        finer = [self.ssd_shrink_block_0(maps[0]), *maps[1:-1]]
        made = [maps[-1]]
        for block in self.blocks:
            made.append(block(made[-1], finer.pop()))
        return made[::-1]


class _Deconvolution(nn.Module):
    """A coarse map, deconvolved, times a finer one.

    Where doubling the coarse map misses the finer one's size by one, the convolution after it has a kernel of 2 in
    this direction, and padding on both sides or on none.
    """

    def __init__(self, inputs: int, outputs: int, coarse: Size, fine: Size) -> None:
        super().__init__()
        kernel, padding = zip(*map(_fitting, coarse, fine), strict=True)
        self.fine = nn.Sequential(
            BodyOptions().unit(outputs, outputs, 3),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.coarse = nn.Sequential(
            Doubling(inputs, outputs),
            nn.Conv2d(outputs, outputs, kernel, padding=padding, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        product: Tensor = self.relu(self.fine(fine) * self.coarse(coarse))
        return product


def _fitting(coarse: int, fine: int) -> tuple[int, int]:
    """Kernel and padding of a convolution from twice the one length to the other."""
    try:
        return {0: (3, 1), 1: (2, 0), -1: (2, 1)}[2 * coarse - fine]
    except KeyError:
        raise ValueError(f"a map of {coarse} cells can't be deconvolved to {fine}") from None


class Doubling(nn.Module):
    """A transposed convolution of 2x2 and stride 2, without bias: [b, c, h, w] to [b, outputs, 2h, 2w].

    As its kernels don't overlap, it is a 1x1 convolution to four times the channels, of which each four are the
    corners of a cell (Shi et al. 2016). In this form pruning follows it: inputs go, outputs stay, as in TAO.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.corners = nn.Conv2d(inputs, 4 * outputs, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Maps [b, outputs, 2h, 2w] of maps [b, c, h, w]."""
        corners: Tensor = self.corners(images)
        b, c, h, w = corners.shape
        # Not nn.PixelShuffle, which Torch-Pruning takes for something that keeps channels.
        return corners.reshape(b, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, c // 4, 2 * h, 2 * w)


class Predictions(nn.Module):
    """The prediction modules (figure 2c of the paper): a bottleneck of 1x1 convolutions beside another one, per map.

    Args:
        channels: of the maps.
        outputs: channels of what comes out, a multiple of 4.

    Attributes:
        channels: of the maps that come out.
    """

    def __init__(self, channels: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.channels = (outputs,) * len(channels)
        self.blocks = nn.ModuleList(_Prediction(inputs, outputs) for inputs in channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps [b, outputs, h, w] of maps [b, c, h, w]."""
        return [block(each) for block, each in zip(self.blocks, maps, strict=True)]


class _Prediction(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        narrow = outputs // 4
        self.residual = nn.Sequential(
            BodyOptions().unit(inputs, narrow, 1),
            BodyOptions().unit(narrow, narrow, 1),
            nn.Conv2d(narrow, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        total: Tensor = self.relu(self.residual(features) + self.skip(features))
        return total
