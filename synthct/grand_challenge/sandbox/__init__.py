"""An image run as the platform runs it, and what it must keep to: static checks, hostile and odd cases, limits."""

from synthct.grand_challenge.sandbox.findings import Finding, LargestCase, Report
from synthct.grand_challenge.sandbox.flags import parse_memory
from synthct.grand_challenge.sandbox.session import CheckOptions, check
from synthct.grand_challenge.sandbox.table import HEADINGS, table_lines, table_rows
from synthct.grand_challenge.sandbox.verdict import Verdict

__all__ = [
    "HEADINGS",
    "CheckOptions",
    "Finding",
    "LargestCase",
    "Report",
    "Verdict",
    "check",
    "parse_memory",
    "table_lines",
    "table_rows",
]
