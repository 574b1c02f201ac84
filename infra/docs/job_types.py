"""The job types, from the registry: options, and payload fields as they are on the wire."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

from infra.docs import docstrings
from infra.docs.markdown import code, sentence, table
from qstash_jobs.job import Job, JobOptions, Rate, registry

Schema = dict[str, Any]


def reference() -> str:
    """All options once, then each job type."""
    return "\n\n".join([_options(), *(_job_type(one) for one in registry.contracts())])


def _options() -> str:
    words = docstrings.of_members(JobOptions)
    rows = [
        [code(field.name), _default(field), sentence(words[field.name])] for field in dataclasses.fields(JobOptions)
    ]
    return "\n\n".join(["## Options", table(["option", "default", "what it says"], rows)])


def _default(field: dataclasses.Field[Any]) -> str:
    return "required" if field.default is dataclasses.MISSING else code(_shown(field.default))


def _shown(value: object) -> str:
    match value:
        case timedelta():
            return f"{value.total_seconds():g} s"
        case Rate():
            return f"{value.limit} in {value.per.total_seconds():g} s"
        case tuple():
            return ", ".join(map(str, value)) or "()"
        case _:
            return str(value)


def _job_type(job_type: type[Job]) -> str:
    schema: Schema = job_type.model_json_schema()
    parts = [
        f"## {code(job_type.options.name)}",
        f"{sentence(job_type.__doc__ or '')} Import it as {code(f'{job_type.__module__}.{job_type.__name__}')}.",
        _said(job_type.options),
    ]
    if schema.get("properties"):
        parts.append(_fields(schema, schema))
    else:
        parts.append("It has no payload.")
    for name, definition in schema.get("$defs", {}).items():
        if "properties" in definition:
            parts += [f"### {name}", sentence(definition.get("description", "")), _fields(definition, schema)]
    return "\n\n".join(parts)


def _said(options: JobOptions) -> str:
    """The options that differ from their defaults, besides the three that every reader looks for."""
    said = [f"retries {options.retries}", f"timeout {_shown(options.timeout)}", f"concurrency {options.concurrency}"]
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name not in {"name", "retries", "timeout", "concurrency"} and value != field.default:
            said.append(field.name if value is True else f"{field.name} {_shown(value)}")
    return f"Options: {'; '.join(said)}."


def _fields(model: Schema, root: Schema) -> str:
    required = set(model.get("required", ()))
    rows = []
    for name, field in model["properties"].items():
        default = "required" if name in required else _json(field.get("default"))
        rows.append([code(name), _type(field, root), default, sentence(field.get("description", ""))])
    return table(["field", "type", "default", "what it is"], rows)


def _json(value: object) -> str:
    return "–" if value is None else code(str(value).lower() if isinstance(value, bool) else str(value))


def _type(schema: Schema, root: Schema) -> str:
    """A JSON schema in a few words."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        target: Schema = root["$defs"][name]
        return f"[{name}](#{name.lower()})" if "properties" in target else _type(target, root)
    alternatives = schema.get("oneOf") or schema.get("anyOf")
    if alternatives:
        kinds = [_type(one, root) for one in alternatives if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return ", ".join(code(str(value)) for value in schema["enum"])
    if "const" in schema:
        return code(str(schema["const"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'], root)}{_limits(schema)}"
    return f"{schema.get('format') or schema.get('type') or 'any JSON'}{_limits(schema)}"


def _limits(schema: Schema) -> str:
    signs = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "exclusiveMaximum": "<", "minItems": "≥"}
    said = [f"{sign} {schema[name]:g}" for name, sign in signs.items() if name in schema]
    if "maxLength" in schema:
        said.append(f"at most {schema['maxLength']} characters")
    return f" ({', '.join(said)})" if said else ""
