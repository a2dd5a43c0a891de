"""The versions of TLT and TAO, by the name that this module had."""

from xraycls.tao.fields import Dialect

__all__ = ["Dialect"]
