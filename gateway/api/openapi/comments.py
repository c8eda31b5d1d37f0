"""The descriptions of the fields of wire structures: the comments beside the fields, as the source has them.

A field is described once, for the reader of the code and for the reader of the API: by the comment at the end of its
line, or by the comment lines above it. A test fails for a field that has neither.
"""

import ast
import inspect
import io
import tokenize
from collections.abc import Mapping
from functools import cache
from textwrap import dedent

from msgspec import Struct, structs


def field_comments(structure: type[Struct]) -> Mapping[str, str]:
    """Return encoded name of a field → its comment, without the fields that have none; base classes are included."""
    texts: dict[str, str] = {}
    for base in reversed(structure.__mro__):
        if issubclass(base, Struct) and base is not Struct:
            texts |= _own_comments(base)
    return {field.encode_name: texts[field.name] for field in structs.fields(structure) if field.name in texts}


@cache
def _own_comments(structure: type[Struct]) -> Mapping[str, str]:
    try:
        source = dedent(inspect.getsource(structure))
    except (OSError, TypeError):  # a structure that code has made has no source; its maker describes its fields
        return {}
    (node,) = ast.parse(source).body
    if not isinstance(node, ast.ClassDef):
        return {}
    beside, above = _comments(source)
    texts: dict[str, str] = {}
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        lines = range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
        text = " ".join(beside[line] for line in lines if line in beside) or _block(above, statement.lineno)
        if text:
            texts[statement.target.id] = text
    return texts


def _comments(source: str) -> tuple[Mapping[int, str], Mapping[int, str]]:
    """Return line number → comment: those after code, and those on a line of their own."""
    beside: dict[int, str] = {}
    above: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.removeprefix("#").partition("  # noqa")[0].strip()
            (beside if token.line[: token.start[1]].strip() else above)[token.start[0]] = text
    return beside, above


def _block(above: Mapping[int, str], line: int) -> str:
    """Return the comment lines that end directly before this line, as one text."""
    first = line
    while first - 1 in above:
        first -= 1
    return " ".join(above[number] for number in range(first, line))
