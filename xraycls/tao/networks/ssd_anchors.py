"""The default boxes that a spec of SSD describes, in numbers and in lists of numbers kept in strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from xraycls.models.detection.anchors import SSDAnchors
from xraycls.tao.checks import read_list, shown
from xraycls.tao.limits import Limit, above, between
from xraycls.tao.literal import numbers, numbers_or_pairs, rows
from xraycls.tao.networks.ssd_spec import SSDConfig, SSDSpec
from xraycls.tao.spec import Spec, value_at

Listed = TypeVar("Listed", bound=Sequence[object])

_MAPS = 6


def read_anchors(spec: Spec[SSDSpec], network: SSDConfig) -> SSDAnchors:
    """The default boxes of a spec.

    Args:
        spec: as :func:`xraycls.tao.networks.ssd.plain_network` gives it.
        network: its network.

    Raises:
        SpecError: a list is missing, no list of numbers, of a wrong length or has values that can't be; names file,
            line and field.
    """
    if network.aspect_ratios:
        ratios = _read(spec, "aspect_ratios", rows, _MAPS, above(0))
    elif network.aspect_ratios_global:
        ratios = (_read(spec, "aspect_ratios_global", numbers, None, above(0)),) * _MAPS
    else:
        raise spec.mistake("ssd_config.aspect_ratios_global", "is missing", "Give it, or aspect_ratios")
    variances = _read(spec, "variances", numbers, 4, above(0))
    return SSDAnchors(
        scales=_scales(spec, network),
        aspect_ratios=ratios,
        two_boxes_for_ar1=network.two_boxes_for_ar1,
        clip=network.clip_boxes,
        steps=_read(spec, "steps", numbers_or_pairs, _MAPS, above(0)) if network.steps else None,
        offsets=_read(spec, "offsets", numbers_or_pairs, _MAPS, between(0, 1)) if network.offsets else None,
        variances=(variances[0], variances[1], variances[2], variances[3]),
    )


def _scales(spec: Spec[SSDSpec], network: SSDConfig) -> tuple[float, ...]:
    if network.scales:
        return _read(spec, "scales", numbers, _MAPS + 1, above(0))
    if not (network.min_scale or network.max_scale):
        raise spec.mistake("ssd_config.scales", "is missing", "Give it, or min_scale and max_scale")
    if not 0 < network.min_scale <= network.max_scale:
        raise spec.mistake("ssd_config.min_scale", "must be above 0, and not above max_scale")
    return tuple(np.linspace(network.min_scale, network.max_scale, _MAPS + 1).tolist())


def _read(spec: Spec[SSDSpec], name: str, read: Callable[[str], Listed], length: int | None, limit: Limit) -> Listed:
    field = f"ssd_config.{name}"
    if not value_at(spec.config, field):
        raise spec.mistake(field, "is missing")
    values = read_list(spec, field, read)
    if len(values) != length if length else not values:
        raise spec.mistake(field, f"has {len(values)} entries; it must have {length or 'one or more'}")
    for value in values:
        for each in value if isinstance(value, tuple) else (value,):
            if not limit.holds(each):
                raise spec.mistake(field, f"has {shown(each)}; every number must {limit.wanted}")
        if value == ():
            raise spec.mistake(field, "has an empty list")
    return values
