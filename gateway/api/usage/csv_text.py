"""Usage as a table of comma-separated values (RFC 4180), safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterator

from msgspec import UNSET
from msgspec.structs import asdict

from gateway.api.usage.views import UsageAnswer, UsageSums

MEDIA_TYPE = "text/csv; header=present"
# Spreadsheets take a cell that begins so for a formula, which can send the table to a stranger or start a program. The
# list is that of OWASP, "CSV Injection", with the wide forms that East Asian keyboards have.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def csv_of(answer: UsageAnswer) -> str:
    """The groups as rows, and the total as the last row. The first column says which of both a row is."""
    text = io.StringIO()
    writer = csv.writer(text)
    sums = UsageSums.__struct_fields__
    writer.writerow(["row", *answer.group_by, *sums])
    for group in answer.data:
        fields = asdict(group)
        writer.writerow(["group", *_cells(fields, answer.group_by), *_cells(fields, sums)])
    writer.writerow(["total", *("" for _ in answer.group_by), *_cells(asdict(answer.total), sums)])
    return text.getvalue()


def _cells(fields: dict[str, object], names: tuple[str, ...]) -> Iterator[object]:
    for name in names:
        value = fields[name]
        if isinstance(value, str):
            yield f"'{value}" if value.startswith(_FORMULA) else value
        else:
            yield "" if value is None or value is UNSET else value
