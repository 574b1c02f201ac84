"""Templates in words: what CloudFormation's functions would give, as far as a test can know it."""

from __future__ import annotations

from typing import Any

from tests.infra.conftest import Template

Properties = dict[str, Any]


def text(value: Any) -> str:
    """A value of a template as a text, with `${Name}` and `${Name.Attribute}` for what only a deployment knows."""
    match value:
        case {"Ref": str(name)}:
            return f"${{{name}}}"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"${{{name}.{attribute}}}"
        case {"Fn::Join": [by, parts]}:
            return str(by).join(text(part) for part in parts)
        case {"Fn::Sub": str(said)}:
            return said
        case {"Fn::ImportValue": said}:
            return f"${{import {text(said)}}}"
        case str() | int() | float():
            return str(value)
    raise ValueError(f"no text: {value}")


def of_type(template: Template, type_: str) -> dict[str, Properties]:
    """The properties of each resource of a type, by its logical id."""
    return {
        name: resource.get("Properties", {})
        for name, resource in template["Resources"].items()
        if resource["Type"] == type_
    }


def lambda_named(template: Template, name: str, prefix: str = "jobs-prod") -> tuple[str, Properties]:
    """The function `<prefix>-<name>`: its logical id and properties."""
    found = of_type(template, "AWS::Lambda::Function")
    return next((id_, one) for id_, one in found.items() if one.get("FunctionName") == f"{prefix}-{name}")


def role_of(template: Template, function: Properties) -> str:
    """The logical id of a function's role."""
    id_, attribute = function["Role"]["Fn::GetAtt"]
    assert attribute == "Arn"
    return str(id_)


def statements(template: Template, role: str) -> list[Properties]:
    """All that a role may: its own policies, and those that name it."""
    found = [one for policy in role_policies(template, role) for one in policy["PolicyDocument"]["Statement"]]
    assert "ManagedPolicyArns" not in template["Resources"][role]["Properties"]
    return found


def role_policies(template: Template, role: str) -> list[Properties]:
    """The policies of a role, inline and attached."""
    own = template["Resources"][role]["Properties"].get("Policies", [])
    attached = of_type(template, "AWS::IAM::Policy").values()
    return [*own, *(one for one in attached if {"Ref": role} in one.get("Roles", []))]


def listed(value: Any) -> list[Any]:
    """What may be one or several, as several."""
    return value if isinstance(value, list) else [value]


def allowed(template: Template, function: Properties) -> set[tuple[str, str]]:
    """Each action that a function may take, with each resource."""
    found = set()
    for one in statements(template, role_of(template, function)):
        assert one["Effect"] == "Allow"
        found |= {(action, text(to)) for action in listed(one["Action"]) for to in listed(one["Resource"])}
    return found


def environment(function: Properties) -> dict[str, str]:
    """A function's environment variables, as texts."""
    return {name: text(value) for name, value in function["Environment"]["Variables"].items()}


def depends(template: Template, name: str) -> set[str]:
    """What must be there before a resource is, however far away: by DependsOn, or because it is named."""
    reached: set[str] = set()
    waiting = [name]
    while waiting:
        for one in _direct(template, waiting.pop()) - reached:
            reached.add(one)
            waiting.append(one)
    return reached


def _direct(template: Template, name: str) -> set[str]:
    resource = template["Resources"][name]
    return {
        *listed(resource.get("DependsOn", [])),
        *(one for one in named_in(resource.get("Properties", {})) if one in template["Resources"]),
    }


def named_in(value: Any) -> set[str]:
    """The logical ids that a value names."""
    match value:
        case {"Ref": str(name)}:
            return {name}
        case {"Fn::GetAtt": [name, _]}:
            return {name}
        case dict():
            return set().union(*(named_in(one) for one in value.values()))
        case list():
            return set().union(*(named_in(one) for one in value))
    return set()
