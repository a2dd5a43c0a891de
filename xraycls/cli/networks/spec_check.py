"""`xraycls ssd spec-check` and its like: what becomes of each field of a TLT/TAO spec."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from xraycls.cli.invocation import print_table
from xraycls.cli.options import JsonOption
from xraycls.cli.tao_options import MountOption, SpecOption

if TYPE_CHECKING:
    from xraycls.tao.report import FieldReport

_STYLES = {"honoured": "green", "approximated": "yellow", "ignored": "red", "not yet": "magenta"}

_LONGEST = 60  # characters of a value in the table


def spec_check(program: str) -> Callable[..., None]:
    """The verb ``spec-check`` of a network.

    Args:
        program: the network's name, such as "ssd".
    """

    def command(spec: SpecOption, mount: MountOption = None, as_json: JsonOption = False) -> None:
        from xraycls.tao.mounts import read_mounts
        from xraycls.tao.programs import open_checked
        from xraycls.tao.report import headline, mapping_report

        mounts = read_mounts(mount or ())
        opened = open_checked(mounts.path(spec), program)
        reports = mapping_report(opened, mounts)
        if as_json:
            fields = [asdict(each) for each in reports]
            print(json.dumps({"network": program, "dialects": opened.dialects, "fields": fields}, indent=2))
            return
        _show(reports)
        print(headline(opened, reports))

    command.__doc__ = "Tell what becomes of each field of a spec: honoured, approximated (how) or ignored (why)."
    return command


def _show(reports: tuple[FieldReport, ...]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("Line")
    for name in ("Field", "Value", "Outcome", "Note"):
        table.add_column(name, overflow="fold")
    for each in reports:
        outcome = f"[{_STYLES[each.outcome]}]{each.outcome}[/]"
        table.add_row(str(each.line or ""), escape(each.field), escape(_short(each.value)), outcome, escape(each.note))
    print_table(table)


def _short(value: object) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
