"""What is wrong with a data set, before anyone trains on it: a file for what each check looks at."""

from xraycls.data.audit.finding import Audit, Finding, Group, Severity
from xraycls.data.audit.quick_check import warn_of_faults
from xraycls.data.audit.report import as_json, require_outside, write_report
from xraycls.data.audit.run import audit

__all__ = [
    "Audit",
    "Finding",
    "Group",
    "Severity",
    "as_json",
    "audit",
    "require_outside",
    "warn_of_faults",
    "write_report",
]
