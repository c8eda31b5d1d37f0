"""Examples of bodies and answers: values that are made from their schemas. A test validates every example."""

from collections.abc import Mapping
from typing import Any

_MOMENT = 1_767_225_600  # Unix seconds
_REQUIRED_ALONE = 2  # the depth from which an example has no optional fields


def sample(schema: Mapping[str, Any], components: Mapping[str, Any], name: str = "", depth: int = 0) -> Any:
    """Return a value that a JSON schema allows; `components` has the schemas that `$ref` names.

    `name` is that of the field, which tells a URL from another text.
    """
    if "$ref" in schema:
        return sample(components[schema["$ref"].rpartition("/")[2]], components, name, depth)
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
            return sample(member, components, name, depth)
    match schema.get("type"):
        case "object":
            return _object(schema, components, depth)
        case "array":
            return [sample(schema.get("items", {}), components, name, depth + 1)] * max(1, schema.get("minItems", 1))
        case "integer":
            moment = _MOMENT if name.endswith("_at") else 1
            return min(max(schema.get("minimum", moment), moment), schema.get("maximum", moment))
        case "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "string":
            text = "https://example.com/beach" if "url" in name else "beach"
            return text[: schema.get("maxLength", len(text))].ljust(schema.get("minLength", 0), "h")
        case _:
            return None


def _object(schema: Mapping[str, Any], components: Mapping[str, Any], depth: int) -> dict[str, Any]:
    required = schema.get("required", ())
    wanted = required if depth >= _REQUIRED_ALONE or required else schema.get("properties", {})
    return {
        field: sample(inner, components, field, depth + 1)
        for field, inner in schema.get("properties", {}).items()
        if field in wanted
    }
