"""HTML pages that need nothing else: no script, no link, pictures inside.

Their templates are in ``xraycls/pages``; jinja2 escapes whatever they are given.
"""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """Returns a page.

    Args:
        template: a file of ``xraycls/pages``, such as "report.html".
        **values: what it shows; text is escaped.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # a tenth of a second, for those who write a page

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("pages")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda encoded: base64.b64encode(encoded).decode("ascii")
    environment.filters["shown"] = _shown
    return environment


def _shown(value: Any) -> str:
    """Text of a value; nested ones as JSON."""
    return json.dumps(value, default=str) if isinstance(value, dict | list | tuple) else str(value)
