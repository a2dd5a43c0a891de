"""Tools of checks, by the name that this module had."""

from xraycls.tao.checks import lower_case_mapping
from xraycls.tao.spec import value_at

__all__ = ["lower_case_mapping", "value_at"]
