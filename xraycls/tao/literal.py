"""Lists of numbers that specs keep in strings, such as ``"[1.0, 2.0, 1.0/3.0]"``.

Upstream hands them to ``eval``; here only nested lists and tuples of numbers and their sums, differences, products and
quotients mean anything.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from typing import TypeAlias

Nested: TypeAlias = "float | tuple[Nested, ...]"
"""A number, or a list of such; a whole number stays an int."""

LONGEST = 10_000
DEEPEST = 64

_OPERATORS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_SIGNS: dict[type[ast.AST], Callable[[float], float]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}

# So much is numbers, brackets and signs; anything else is named before Python's parser sees it.
_STRANGE = re.compile(r"[^\d\s.,()\[\]+*/eE-]", re.ASCII)


def parse_literal(text: str) -> Nested:
    """The value of a list of numbers.

    Args:
        text: at most ``LONGEST`` characters, nested at most ``DEEPEST`` deep.

    Returns:
        Lists and tuples alike as tuples.

    Raises:
        ValueError: the text is something else, or has a value that isn't finite; one sentence, without a full stop.
    """
    if len(text) > LONGEST:
        raise ValueError(f"a list of numbers has at most {LONGEST:,} characters, this has {len(text):,}")
    if strange := _STRANGE.search(text):
        raise ValueError(f"{strange[0]!r} can't stand in a list of numbers")
    try:
        return _value(ast.parse(text.strip(), mode="eval").body, DEEPEST)
    except SyntaxError as error:
        raise ValueError(f"{_short(text)!r} is no list of numbers") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError(f"a list of numbers is nested at most {DEEPEST} deep") from error
    except ZeroDivisionError as error:
        raise ValueError("a number is divided by 0") from error
    except OverflowError as error:
        raise ValueError("a number is too large") from error


def numbers(text: str) -> tuple[float, ...]:
    """A list of numbers; raises ValueError when it is anything else."""
    return _row(parse_literal(text))


def rows(text: str) -> tuple[tuple[float, ...], ...]:
    """A list of lists of numbers; raises ValueError when it is anything else."""
    return tuple(_row(inner) for inner in _listed(parse_literal(text), "lists of numbers"))


def pairs(text: str) -> tuple[tuple[float, float], ...]:
    """A list of pairs of numbers; raises ValueError when it is anything else."""
    return tuple(_pair(each) for each in rows(text))


def numbers_or_pairs(text: str) -> tuple[float | tuple[float, float], ...]:
    """A list of numbers and of pairs of numbers; raises ValueError when it is anything else."""
    outer = _listed(parse_literal(text), "numbers or pairs")
    return tuple(_pair(_row(each)) if isinstance(each, tuple) else float(each) for each in outer)


def _value(node: ast.expr, depth: int) -> Nested:
    if depth == 0:
        raise RecursionError
    if isinstance(node, ast.List | ast.Tuple):
        return tuple(_value(each, depth - 1) for each in node.elts)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return _finite(node.value)
    if isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
        return _SIGNS[type(node.op)](_number(_value(node.operand, depth - 1)))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = (_number(_value(side, depth - 1)) for side in (node.left, node.right))
        return _finite(_OPERATORS[type(node.op)](left, right))
    raise ValueError(f"{_short(ast.unparse(node))} is neither a list nor a sum, difference, product or quotient")


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise OverflowError
    return value


def _row(value: Nested) -> tuple[float, ...]:
    return tuple(float(_number(each)) for each in _listed(value, "numbers"))


def _listed(value: Nested, what: str) -> tuple[Nested, ...]:
    if not isinstance(value, tuple):
        raise ValueError(f"a list of {what} is expected, not {value}")
    return value


def _number(value: Nested) -> float:
    if isinstance(value, tuple):
        raise ValueError(f"a number is expected, not a list of {len(value)}")
    return value


def _pair(value: tuple[float, ...]) -> tuple[float, float]:
    if len(value) != 2:
        raise ValueError(f"a pair of numbers is expected, not a list of {len(value)}")
    return value[0], value[1]


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
