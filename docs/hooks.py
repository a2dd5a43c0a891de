"""What the pages take from the package itself when they are built: tables that would drift if they were typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


MADE = {"changelog": changelog}
