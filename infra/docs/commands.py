"""The command `jobs`, from what its parser knows: no terminal's width and no colours are in it."""

from __future__ import annotations

import inspect
import re
from typing import Any

import typer.main

from infra.cli.app import app
from infra.docs.markdown import code, sentence, table

_EVERYWHERE = ("stage", "app", "region", "profile")

_MARKUP = re.compile(r"\[/?[a-z ]*\]")
_EXAMPLE = re.compile(r"\[dim\](.*?)\[/\]")


def reference() -> str:
    """A section for each command, in the order in which `jobs --help` lists them."""
    group: Any = typer.main.get_command(app)
    panels: dict[str, list[str]] = {}
    for name, command in group.commands.items():
        panels.setdefault(str(command.rich_help_panel), []).extend(
            _command(path, one) for path, one in leaves(name, command)
        )
    everywhere = table(
        ["option", "default", "what it is"], [_parameter(one) for one in group.params if one.name in _EVERYWHERE]
    )
    panels = {"Before every command": [everywhere], **panels}
    parts = [text for panel, commands in panels.items() for text in (f"## {panel}", *commands)]
    return "\n\n".join(parts)


def leaves(name: str, command: Any) -> list[tuple[str, Any]]:
    """The command, or those that it is a name for, such as `schedules list`."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return [(name, command)]
    return [(f"{name} {word}", one) for word, one in inner.items()]


def _command(name: str, command: Any) -> str:
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    said = [_plain(paragraph) for paragraph in paragraphs if not _EXAMPLE.search(paragraph)]
    examples = [found for paragraph in paragraphs for found in _EXAMPLE.findall(paragraph)]
    shown = [parameter for parameter in command.params if not parameter.hidden]
    parts = [f"### `jobs {name}`", *said]
    if examples:
        parts.append("\n".join(["```sh", *examples, "```"]))
    if shown:
        parts.append(table(["argument or option", "default", "what it is"], [_parameter(one) for one in shown]))
    return "\n\n".join(parts)


def _parameter(parameter: Any) -> list[str]:
    if parameter.param_type_name == "argument":
        name = code(parameter.name.rstrip("_").upper())
        default = "required" if parameter.required else _default(parameter)
    else:
        name = " ".join(code(option) for option in (*parameter.opts, *parameter.secondary_opts))
        default = _default(parameter)
    return [name, default, sentence(_plain(parameter.help or ""))]


def _default(parameter: Any) -> str:
    if parameter.default is None or parameter.default is False:
        return "–"
    return code("on" if parameter.default is True else str(parameter.default))


def _plain(text: str) -> str:
    return _MARKUP.sub("", " ".join(text.split()))
