"""What this version stores can be read by the last release, which works on the same ledger during an upgrade."""

import json
from pathlib import Path
from typing import Any

from . import stored_shapes
from .last_release import run, unpacked

# What the last release does not understand, and why that does no harm while it works beside this version. After a
# release the list is emptied.
ACCEPTED: dict[str, str] = {
    f"Task.{name} is new": "without it a grace begins again, as after every hand-over to the last release"
    for name in ("missing", "missing_since", "not_found", "not_found_since")
}
REMEDY = """
The last release works beside this version during an upgrade. What is listed above it cannot read, or it loses it when
it writes the row again. Let this version only read the new form, and write it in the next one. If nothing is lost in
any case, add the line with the reason to ACCEPTED; see "A change of the schema" in CONTRIBUTING.md."""
Schema = dict[str, Any]


def test_the_last_release_reads_what_this_version_stores(tmp_path: Path) -> None:
    with unpacked(tmp_path) as program:
        before = json.loads(run(program, Path(stored_shapes.__file__).read_text()))
    unreadable = sorted(set(differences(before, json.loads(json.dumps(stored_shapes.shapes())))))
    assert unreadable == sorted(ACCEPTED), REMEDY


def differences(before: Schema, after: Schema) -> list[str]:
    """What a program with the schemas `before` does not understand of what one with `after` stores."""
    lines: list[str] = []
    for name in before.keys() - {"$defs"}:
        lines += _values(name, before[name], after[name]) if name in after else [f"{name} is not stored any more"]
    for name, old in before["$defs"].items():
        if name in after["$defs"]:
            lines += _struct(name, old, after["$defs"][name])
    return lines


def _struct(name: str, old: Schema, new: Schema) -> list[str]:
    if "properties" not in old or "properties" not in new:
        return _values(name, old, new)
    fields, newer = old["properties"], new["properties"]
    lines = [f"{name}.{field} is new" for field in newer.keys() - fields.keys()]
    missing = set(old.get("required", ())) - set(new.get("required", ()))
    lines += [f"{name}.{field} may be missing" for field in missing]
    for field in fields.keys() & newer.keys():
        lines += _values(f"{name}.{field}", fields[field], newer[field])
    return lines


def _values(name: str, old: Schema, new: Schema) -> list[str]:
    if "enum" in old and "enum" in new:
        return [f"{name} has the new value {word}" for word in new["enum"] if word not in old["enum"]]
    return [] if _bare(old) == _bare(new) else [f"{name} has another form"]


def _bare(schema: Any) -> Any:
    """The schema without words for people, and without bounds that are checked in requests only."""
    if isinstance(schema, dict):
        return {key: _bare(value) for key, value in schema.items() if key not in {"description", "title"}}
    return [_bare(value) for value in schema] if isinstance(schema, list) else schema


def test_every_kind_of_difference_is_seen() -> None:
    before = {
        "A.state": {"enum": ["a"]},
        "A.gone": {"type": "string"},
        "A.part": {"$ref": "#/$defs/Part"},
        "A.form": {"type": "string"},
        "$defs": {"Part": {"properties": {"x": {"type": "integer"}, "y": {"enum": [1]}}, "required": ["x"]}},
    }
    after = {
        "A.state": {"enum": ["a", "b"], "description": "words"},
        "A.part": {"$ref": "#/$defs/Part"},
        "A.form": {"type": "integer"},
        "A.column": {"type": "string"},
        "$defs": {
            "Part": {"properties": {"x": {"type": "integer"}, "y": {"enum": [1, 2]}, "z": {}}, "required": []},
        },
    }
    assert sorted(differences(before, after)) == [
        "A.form has another form",
        "A.gone is not stored any more",
        "A.state has the new value b",
        "Part.x may be missing",
        "Part.y has the new value 2",
        "Part.z is new",
    ]
    assert differences(before, before) == []
