"""What can be said of a deployment, as the reference shows it."""

from __future__ import annotations

from pydantic.fields import FieldInfo

from infra.aws.context import Context
from infra.docs.markdown import code, sentence, table


def reference() -> str:
    """A row for each name."""
    rows = [
        [code(name), _default(field), sentence(field.description or "")] for name, field in Context.model_fields.items()
    ]
    return table(["name", "default", "what it is"], rows)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be said"
    value = field.get_default(call_default_factory=True)
    match value:
        case None | "" | {}:
            return "–"
        case bool():
            return code(str(value).lower())
        case float():
            return code(f"{value:g}")
        case _:
            return code(str(value))
