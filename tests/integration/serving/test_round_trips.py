"""What an execution costs on the network: with the database 1 ms away, each round trip is billed on every job."""

from __future__ import annotations

import pytest

from tests.integration.serving.turns import count_turns


def test_an_execution_costs_two_round_trips(environment: pytest.MonkeyPatch, database_url: str) -> None:
    """One to start, one to finish, on a connection that is open already."""
    assert count_turns(database_url) == 2
