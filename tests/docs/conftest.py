"""Running what the pages show."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs, urlsplit

import pytest

from qstash_jobs import relay
from qstash_jobs.job import registry
from tests.docs.pages import Snippet, as_module

Load = Callable[[str, list[Snippet]], ModuleType]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Imports snippets as a module of the given name; the job types that they define are forgotten afterwards."""
    list(registry)  # what the package itself defines stays known
    monkeypatch.setattr(registry, "_types", dict(registry._types))
    loaded: list[str] = []

    def load(name: str, parts: list[Snippet]) -> ModuleType:
        file = tmp_path / f"{name}.py"
        file.write_text(as_module(parts))
        for defined in re.findall(r'JobOptions\(name="([^"]+)"', as_module(parts)):
            registry._types.pop(defined, None)  # who follows the page has written it already
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        loaded.append(name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in loaded:
        del sys.modules[name]


@pytest.fixture
def app_database_url(environment: pytest.MonkeyPatch, database_url: str) -> Iterator[str]:
    """The test's database as an app names it for SQLAlchemy over psycopg; its jobs are left to the relay's outbox."""
    parts = urlsplit(database_url)
    url = f"postgresql+psycopg://postgres@{parts.path}?host={parse_qs(parts.query)['host'][0]}"
    environment.setenv("APP_DATABASE_URL", url)
    yield url
    relay.publisher.flush(relay.QUIET * 10)
