"""`python -m infra.local.qstash`: the server alone."""

from __future__ import annotations

import typer

from infra.local.qstash.command import run

if __name__ == "__main__":
    typer.run(run)
