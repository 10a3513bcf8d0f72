"""Checks a value against the part of JSON Schema that these tests use."""

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}


def check(value, schema, where="$"):
    """Fails with the place of the first rule that the value breaks."""
    known = {"type", "enum", "properties", "required", "additionalProperties", "items", "minItems",
             "maxItems", "maxLength"}
    assert set(schema) <= known, f"this checker does not know {set(schema) - known}"
    if "enum" in schema:
        assert value in schema["enum"], f"{where}: {value!r}"
    if "type" in schema:
        assert isinstance(value, TYPES[schema["type"]]), f"{where}: {value!r} is no {schema['type']}"
        assert not (schema["type"] == "integer" and isinstance(value, bool)), where
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        assert set(schema.get("required", [])) <= set(value), f"{where}: {sorted(value)}"
        if schema.get("additionalProperties") is False:
            assert set(value) <= set(properties), f"{where}: {sorted(value)}"
        for name, part in value.items():
            check(part, properties.get(name, {}), f"{where}.{name}")
    if isinstance(value, list):
        assert schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)), where
        for index, part in enumerate(value):
            check(part, schema.get("items", {}), f"{where}[{index}]")
    if isinstance(value, str):
        assert len(value) <= schema.get("maxLength", len(value)), where
