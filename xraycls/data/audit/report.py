"""An audit as files: JSON for programs, a table of the pictures concerned, and a page for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xraycls.data.audit.finding import Audit, Finding
from xraycls.data.audit.page import audit_page
from xraycls.data.files import atomic_write
from xraycls.data.rows import write_rows
from xraycls.data.table import SampleTable
from xraycls.errors import UsageError

JSON_NAME, PAGE_NAME, CSV_NAME = "audit.json", "audit.html", "findings.csv"


def write_report(audit: Audit, folder: Path) -> None:
    """Write ``audit.json``, ``findings.csv`` and ``audit.html`` into a folder, which is made when missing.

    Raises:
        UsageError: the folder lies within the data.
        XrayclsError: it can't be written.
    """
    require_outside(audit.table, folder)
    with atomic_write(folder / JSON_NAME) as temporary:
        temporary.write_text(json.dumps(as_json(audit), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    rows = [row for finding in audit.findings for row in _rows(audit.table, finding)]
    write_rows(folder / CSV_NAME, ("finding", "severity", "group", "path", "split", "label", "note"), rows)
    with atomic_write(folder / PAGE_NAME) as temporary:
        temporary.write_text(audit_page(audit), encoding="utf-8")


def require_outside(table: SampleTable, folder: Path) -> None:
    """Refuse a folder for the report that lies within the data, where it would be read as part of it; UsageError."""
    if table.root.is_dir() and folder.resolve().is_relative_to(table.root.resolve()):
        raise UsageError(f"The report can't go to {folder}, which lies in the data", "Name another folder by --output")


def as_json(audit: Audit) -> dict[str, Any]:
    """The audit in plain values; pictures by their names below the root."""
    table = audit.table
    return {
        "data": str(table.root),
        "source": table.source,
        "quick": audit.quick,
        "pictures": len(table),
        "counts": {split: table.split(split).counts() for split in table.splits} or {"all": table.counts()},
        "findings": [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "title": finding.title,
                "advice": finding.advice,
                "figures": dict(finding.figures),
                "groups": [
                    {"note": group.note, "pictures": [table.name_of(table[row]) for row in group.samples]}
                    for group in finding.groups
                ],
            }
            for finding in audit.findings
        ],
    }


def _rows(table: SampleTable, finding: Finding) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for number, group in enumerate(finding.groups, start=1):
        for row in group.samples:
            sample = table[row]
            label = "" if sample.label is None else table.classes[sample.label]
            rows.append(
                (finding.kind, finding.severity, number, table.name_of(sample), sample.split or "", label, group.note)
            )
    return rows
