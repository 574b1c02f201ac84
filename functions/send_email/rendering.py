"""A mail from its template: subject, HTML and plain text. The same variables always give the same mail, to the byte, or
a repeated attempt would reuse its idempotency key for another one."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape

from functions.send_email import formats
from qstash_jobs.jobs.send_email import EmailData
from qstash_jobs.settings import Settings

TEMPLATES = Path(__file__).parent / "templates"
FONT = "-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"


@dataclass(frozen=True)
class Mail:
    """What a person gets to read."""

    subject: str
    html: str
    text: str


def render(data: EmailData, settings: Settings) -> Mail:
    """The mail of these variables. Raises `jinja2.UndefinedError` for a template that asks for one it does not have."""
    variables: dict[str, object] = {name: getattr(data, name) for name in type(data).model_fields}
    variables["product"] = {
        "name": settings.product_name,
        "url": settings.app_url,
        "support": settings.support_email,
    }
    head = {name: _one_line(_line(source).render(variables)) for name, source in _heads()[data.template].items()}
    return Mail(
        subject=head["subject"],
        html=_environment().get_template(f"{data.template}.html").render(variables, **head).strip() + "\n",
        text=_environment().get_template(f"{data.template}.txt").render(variables).strip() + "\n",
    )


def _one_line(text: str) -> str:
    # A line break in a subject would begin another header; the contract keeps them out of names, this out of the rest.
    return " ".join(text.split())


@functools.cache
def _line(source: str) -> Template:
    return _environment().from_string(source)


@functools.cache
def _heads() -> dict[str, dict[str, str]]:
    return tomllib.loads((TEMPLATES / "mails.toml").read_text(encoding="utf-8"))


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(("html",), default_for_string=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "money": formats.money,
        "day": formats.day,
        "moment": formats.moment,
        "span": formats.span,
        "size": formats.size,
        "counted": formats.counted,
    }
    environment.globals["font"] = FONT
    return environment
