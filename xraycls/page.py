"""HTML pages that need nothing else: no script, no link, pictures inside."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

_STYLE = """
:root { --ink: #1f2933; --grey: #66727f; --line: #e3e8ee; --blue: #1f5fa8; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 68rem; background: #fff; color: var(--ink);
       font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.75rem; }
h2 { margin: 2.5rem 0 .75rem; font-size: 1.15rem; }
p { margin: .25rem 0; max-width: 46rem; }
.quiet { color: var(--grey); font-size: .9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .42rem 1.6rem .42rem 0; border-bottom: 1px solid var(--line); text-align: left;
         vertical-align: top; white-space: nowrap; }
thead th { color: var(--grey); font-weight: 600; }
tbody th { font-weight: 500; }
td small { color: var(--grey); font-size: .85rem; }
.stacked small { display: block; }
.about td { white-space: normal; overflow-wrap: anywhere; }
.headline { display: flex; flex-wrap: wrap; gap: 1rem 3rem; margin: 1.5rem 0; }
.headline b { display: block; color: var(--blue); font-size: 2rem; line-height: 1.2; }
.pictures { columns: 26rem 2; column-gap: 1.5rem; }
figure { margin: 0 0 1.5rem; padding: .5rem; border: 1px solid var(--line); border-radius: 8px; break-inside: avoid; }
figure img { display: block; width: 100%; height: auto; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page.

    Args:
        title: of the window, and the heading; escaped.
        parts: HTML, in order; what was not made by this module has to be escaped.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def table(rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table; the first row is its head and the first column names the others.

    Args:
        rows: text, escaped here; what a cell has in brackets is set in small letters.
        kind: a class of the style sheet, such as "stacked".
    """
    header, *body = rows
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    lines = "\n".join(f"<tr><th>{escape(name)}</th>{''.join(map(_cell, cells))}</tr>" for name, *cells in body)
    return (
        f'<div class="wide"><table class="{kind}">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{lines}\n</tbody></table></div>"
    )


def facts(about: Mapping[str, Any]) -> str:
    """A table of two columns, name and value; nested values as JSON."""

    def shown(value: Any) -> str:
        return json.dumps(value, default=str) if isinstance(value, dict | list | tuple) else str(value)

    rows = "\n".join(
        f"<tr><th>{escape(str(key))}</th><td>{escape(shown(value))}</td></tr>" for key, value in about.items()
    )
    return f'<table class="about"><tbody>\n{rows}\n</tbody></table>'


def figure(encoded: bytes, caption: str, kind: str = "png") -> str:
    """A picture inside the page.

    Args:
        encoded: the bytes of the file.
        caption: for those who can't see it.
        kind: "png" or "jpeg".
    """
    data = base64.b64encode(encoded).decode("ascii")
    return f'<figure><img alt="{escape(caption)}" src="data:image/{kind};base64,{data}"></figure>'


def _cell(text: str) -> str:
    value, bracket, interval = escape(text).partition("(")
    return f"<td>{value}<small>({interval}</small></td>" if bracket else f"<td>{value}</td>"
