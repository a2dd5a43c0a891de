"""`xraycls doctor`."""

from __future__ import annotations

import json

from xraycls.cli.invocation import print_table
from xraycls.cli.options import JsonOption


def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine has: versions, devices, codecs, caches and disk."""
    from xraycls.workflows.doctor import examine

    facts = examine()
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    from rich.table import Table

    for title, rows in facts.items():
        table = Table(title=title, title_justify="left", show_header=False)
        for name, value in rows.items():
            table.add_row(name, value)
        print_table(table)
