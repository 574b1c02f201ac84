"""What importing costs: contracts are light, and a function's cold start loads no more than a delivery needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

PROVIDERS = {"boto3", "httpx", "qstash", "resend"}
HEAVY = PROVIDERS | {"sqlalchemy", "pg8000", "psycopg", "jwt", "aws_lambda_powertools", "jinja2", "alembic", "aws_cdk"}


def imported_by(program: str) -> set[str]:
    """The top-level packages that a fresh process has loaded after these lines."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "program",
    [
        "import qstash_jobs",
        "import qstash_jobs.job; list(qstash_jobs.job.registry)",
        "import qstash_jobs.schedules",
        "from qstash_jobs import Job, JobOptions, Retry, Done",
        "from qstash_jobs.settings import settings",
        "import qstash_jobs.envelope",
        "import qstash_jobs.executions.literals",
    ],
)
def test_contracts_cost_nothing_heavy(program: str) -> None:
    """CDK, app services and cold starts read the registry: pydantic and the standard library will do."""
    assert imported_by(program) & HEAVY == set()


def test_the_package_s_face_loads_nothing_of_itself() -> None:
    """Its names are loaded when they are first used."""
    program = "import qstash_jobs, sys; assert not [m for m in sys.modules if m.startswith('qstash_jobs.')]"
    assert "pydantic" not in imported_by(program)


def test_the_package_s_names_are_all_there() -> None:
    """Each name of the face can be loaded, and a misspelt one is an AttributeError."""
    imported_by(
        "import qstash_jobs\n"
        "for name in qstash_jobs.__all__: assert getattr(qstash_jobs, name).__name__ == name, name\n"
        "assert set(qstash_jobs.__all__) == set(dir(qstash_jobs))\n"
        "assert not hasattr(qstash_jobs, 'enqeue')"
    )


@pytest.mark.parametrize("function", sorted(path.parent.name for path in (ROOT / "functions").glob("*/handler.py")))
def test_a_function_s_cold_start_loads_no_provider(function: str) -> None:
    """Verifying a request needs neither HTTP, nor AWS's SDK, nor SQLAlchemy: a forged one costs none of it."""
    found = imported_by(f"import functions.{function}.handler")
    assert found & (PROVIDERS | {"sqlalchemy"}) == set()


def test_one_driver_is_loaded() -> None:
    """The one that the DSN names, when it is used."""
    program = "from datetime import timedelta; from qstash_jobs.database import Database\n"
    assert imported_by(program) & {"pg8000", "psycopg", "sqlalchemy"} == set()
    use = "db = Database('{}://u@/x?host=/nowhere', timedelta(1))\ntry: db.run('')\nexcept Exception as e: print(e)"
    assert imported_by(program + use.format("postgresql")) & {"pg8000", "psycopg", "sqlalchemy"} == {"pg8000"}
    assert imported_by(program + use.format("postgresql+psycopg")) & {"pg8000", "psycopg"} == {"psycopg"}
