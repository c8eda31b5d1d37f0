"""Examples of bodies and answers: fixed ones, and values that are made from schemas. A test validates every example."""

from collections.abc import Mapping
from typing import Any, NamedTuple

_MOMENT = 1_767_225_600  # Unix seconds
_TEXTS = {"file": "beach.png"}  # name of a field → its example
_REQUIRED_ALONE = 2  # the depth from which an example has no optional fields


class Samples(NamedTuple):
    """Makes values that a JSON schema allows."""

    components: Mapping[str, Any]  # the schemas that `$ref` names
    fixed: Mapping[str, Any]  # name of one of them → an example that is used as it is

    def of(self, schema: Mapping[str, Any], name: str = "", depth: int = 0) -> Any:
        """Return a value. `name` is that of the field, which tells a URL from another text."""
        if "$ref" in schema:
            structure = schema["$ref"].rpartition("/")[2]
            if structure in self.fixed:
                return self.fixed[structure]
            return self.of(self.components[structure], name, depth)
        if schema.get("examples"):
            return schema["examples"][0]
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        if schema.get("default") is not None:
            return schema["default"]
        for member in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            if member.get("type") != "null":
                return self.of(member, name, depth)
        return self._of_type(schema, name, depth)

    def _of_type(self, schema: Mapping[str, Any], name: str, depth: int) -> Any:
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                return [self.of(schema.get("items", {}), name, depth + 1)] * max(1, schema.get("minItems", 1))
            case "integer":
                moment = _MOMENT if name.endswith("_at") else 1
                return min(max(schema.get("minimum", moment), moment), schema.get("maximum", moment))
            case "number":
                return schema.get("minimum", 1)
            case "boolean":
                return not name.startswith("has_")  # a list of one example has no further page
            case "string":
                text = _TEXTS.get(name, "https://example.com/beach.png" if "url" in name else "beach")
                return text[: schema.get("maxLength", len(text))].ljust(schema.get("minLength", 0), "h")
            case _:
                return None

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        required = schema.get("required", ())
        wanted = required if depth >= _REQUIRED_ALONE or required else schema.get("properties", {})
        made = {
            field: self.of(inner, field, depth + 1)
            for field, inner in schema.get("properties", {}).items()
            if field in wanted
        }
        return _with_ends(made)


def _with_ends(made: dict[str, Any]) -> dict[str, Any]:
    """Return a page of a list with the ids of its ends."""
    match made:
        case {"first_id": _, "last_id": _, "data": [{"id": one}]}:
            return {**made, "first_id": one, "last_id": one}
        case _:
            return made
