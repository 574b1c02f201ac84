"""The strings below the members of a class, which Python itself does not keep."""

from __future__ import annotations

import ast
import inspect
import textwrap


def of_members(cls: type) -> dict[str, str]:
    """The docstring of each member that has one, by the member's name."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for statement, following in zip(tree.body, tree.body[1:], strict=False):
        name = _assigned(statement)
        text = _text(following)
        if name and text:
            found[name] = inspect.cleandoc(text)
    return found


def _assigned(statement: ast.stmt) -> str | None:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return None


def _text(statement: ast.stmt) -> str | None:
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text
    return None
