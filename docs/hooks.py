"""What the pages take from the package itself when they are built: tables that would drift if they were typed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xraycls.tao.fields import DIALECTS, HONOURED, Field, definitions, holders
from xraycls.tao.networks import NETWORKS
from xraycls.tao.networks.base import TaoNetwork

TOP = Path(__file__).parents[1]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace ``<!-- made: NAME -->`` by what the function of that name makes."""
    for name, make in MADE.items():
        marker = f"<!-- made: {name} -->"
        if marker in markdown:
            markdown = markdown.replace(marker, make())
    return markdown


def changelog() -> str:
    """CHANGELOG.md without its title."""
    return (TOP / "CHANGELOG.md").read_text().partition("\n")[2]


def support() -> str:
    """Every field of every network's spec: what becomes of it, its limits and the versions that know it."""
    return "\n\n".join(f"## {network.title}\n\n{_table(network)}" for network in NETWORKS.values())


def _table(network: TaoNetwork) -> str:
    head = ["| field | meaning | limits | versions | here |", "|---|---|---|---|---|"]
    return "\n".join([*head, *_rows(network)])


def _rows(network: TaoNetwork) -> Iterator[str]:
    table = definitions(network.spec)
    for name, field in table.items():
        if any(other.startswith(f"{name}.") for other in table) and field.support is None:
            continue  # a message, whose fields have rows of their own
        found = next((table[each].support for each in holders(name) if table[each].support), None) or HONOURED
        outcome = f"**{found.outcome}**" if found.outcome != "honoured" else found.outcome
        note = f"{outcome}: {found.note}" if found.note else outcome
        cells = (f"`{name}`", field.doc, _limits(field), _versions(field), note)
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _limits(field: Field) -> str:
    words = [limit.wanted for limit in field.limits]
    return "; ".join([*(["required"] if field.required else []), *(f"must {each}" for each in words)])


def _versions(field: Field) -> str:
    return "all" if field.dialects == DIALECTS else ", ".join(field.dialects)


MADE = {"changelog": changelog, "support": support}
