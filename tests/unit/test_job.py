"""What a job type may say of itself, and how its payload travels."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import Field, ValidationError

import qstash_jobs.jobs
from qstash_jobs.errors import UnknownJobType
from qstash_jobs.job import Job, JobOptions, Payload, Rate, Registry, registry


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Job types that a test makes are known to this test alone."""
    list(registry)
    known = dict(registry._types)
    yield
    registry._types = known


def options(**changes: Any) -> JobOptions:
    return JobOptions(**{"name": "some-job", **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "a"},
        {"name": "a1-b2-3"},
        {"name": "a" * 100},
        {"aliases": ("older", "oldest-name")},
        {"retries": 0},
        {"timeout": timedelta(seconds=1)},
        {"timeout": timedelta(seconds=900)},
        {"memory": 128},
        {"memory": 10_240},
        {"ephemeral_storage": 512},
        {"ephemeral_storage": 10_240},
        {"concurrency": 1},
        {"rate": Rate(limit=1)},
        {"rate": Rate(limit=1000, per=timedelta(weeks=1))},
    ],
)
def test_options_within_their_bounds_are_taken(changes: dict[str, Any]) -> None:
    """Up to the last value that Lambda and QStash allow."""
    made = options(**changes)
    assert {name: getattr(made, name) for name in changes} == changes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        *[({"name": name}, "lower-case words joined by hyphens") for name in
          ("", "Send", "send_email", "send email", "-a", "a-", "a--b", "1a", "é", "a\n", "a/b", "a:b", "a" * 101)],
        ({"aliases": ("Old",)}, "lower-case words joined by hyphens"),
        ({"retries": -1}, "retries"),
        ({"timeout": timedelta(0)}, "timeout"),
        ({"timeout": timedelta(seconds=901)}, "timeout"),
        ({"timeout": timedelta(milliseconds=999)}, "timeout"),
        ({"memory": 127}, "memory"),
        ({"memory": 10_241}, "memory"),
        ({"ephemeral_storage": 511}, "ephemeral_storage"),
        ({"ephemeral_storage": 10_241}, "ephemeral_storage"),
        ({"concurrency": 0}, "concurrency"),
    ],
)  # fmt: skip
def test_options_beyond_their_bounds_fail_at_import(changes: dict[str, Any], said: str) -> None:
    """Where they are written, with the option's name, before anything is deployed."""
    with pytest.raises(ValueError, match=said):
        options(**changes)


@pytest.mark.parametrize(
    ("limit", "per"),
    [(0, timedelta(seconds=1)), (1, timedelta(milliseconds=999)), (1, timedelta(weeks=1, seconds=1))],
)
def test_a_rate_has_bounds(limit: int, per: timedelta) -> None:
    """Those of QStash's flow control."""
    with pytest.raises(ValueError, match="a rate needs"):
        Rate(limit=limit, per=per)


def test_an_unknown_option_fails_at_import() -> None:
    """It is named; a misspelt option is not silently nothing."""
    with pytest.raises(TypeError, match="retires"):
        options(retires=3)


def test_options_are_frozen() -> None:
    """They are part of the contract."""
    with pytest.raises(AttributeError):
        options().retries = 9  # type: ignore[misc]


def test_what_is_not_said_has_a_modest_default() -> None:
    """A job type that names only itself is retried, limited, neither redacted nor trusted with the publish token."""
    made = options()
    assert (made.retries, made.timeout, made.memory, made.ephemeral_storage) == (3, timedelta(seconds=30), 512, 512)
    assert (made.concurrency, made.rate, made.retry_delay, made.aliases) == (10, None, None, ())
    assert (made.sensitive, made.publishes, made.secrets, made.grants) == (False, False, (), ())


def test_the_folder_is_named_after_the_job_type() -> None:
    """As Python can import it."""
    assert options(name="send-email-2").folder == "send_email_2"


# The registry


def test_a_job_type_is_known_by_its_names() -> None:
    """By its name, and by those that it once had."""

    class Renamed(Job):
        options = JobOptions(name="renamed", aliases=("former-name", "first-name"))

    assert [registry.get(name) for name in ("renamed", "former-name", "first-name")] == [Renamed] * 3
    assert list(registry).count(Renamed) == 1


@pytest.mark.parametrize(
    ("name", "aliases"),
    [("taken", ()), ("other", ("taken",)), ("former", ()), ("other", ("former",)), ("probe", ())],
)
def test_a_name_belongs_to_one_job_type(name: str, aliases: tuple[str, ...]) -> None:
    """Neither a name nor an alias can be taken twice; who tries changes nothing."""

    class Taken(Job):
        options = JobOptions(name="taken", aliases=("former",))

    with pytest.raises(ValueError, match="are both named"):

        class Second(Job):
            options = JobOptions(name=name, aliases=aliases)

    assert registry.get("taken") is registry.get("former") is Taken
    with pytest.raises(UnknownJobType):
        registry.get("other")


def test_classes_of_one_name_in_two_modules_are_two_job_types() -> None:
    """A contract that was copied, and whose name was not changed, is found out."""

    def make(module: str) -> type[Job]:
        return type("Copied", (Job,), {"__module__": module, "options": JobOptions(name="copied")})

    make("one")
    with pytest.raises(ValueError, match=r"one\.Copied.*two\.Copied|two\.Copied.*one\.Copied"):
        make("two")


def test_a_module_may_be_loaded_again() -> None:
    """As on the desk, when its file changes: the newer class takes the name."""

    def load() -> type[Job]:
        return type("Reloaded", (Job,), {"__module__": "one", "options": JobOptions(name="reloaded")})

    load()
    newer = load()
    assert registry.get("reloaded") is newer


def test_a_base_without_options_is_no_job_type() -> None:
    """Only what says its options itself is registered, so that job types can share fields."""

    class Shared(Job):
        account: int

    class Concrete(Shared):
        options = JobOptions(name="concrete")

    class Further(Concrete):
        pass

    assert {Shared, Concrete, Further} & set(registry) == {Concrete}


def test_the_registry_finds_every_contract() -> None:
    """Looking up imports them: each module below `jobs` defines at least one job type."""
    modules = {module.name for module in pkgutil.iter_modules(qstash_jobs.jobs.__path__)}
    found = {job_type.__module__.removeprefix("qstash_jobs.jobs.") for job_type in registry}
    assert modules <= found
    assert {"probe", "process-webhook", "export-data", "generate-report", "cleanup-old-data", "reconcile-jobs"} <= {
        job_type.options.name for job_type in registry
    }


def test_what_is_deployed_is_what_the_package_declares() -> None:
    """A job type that somebody else declares, as a test does, can be served, and has no folder to be deployed from."""

    class Elsewhere(Job):
        options = JobOptions(name="elsewhere")

    assert registry.get("elsewhere") is Elsewhere
    assert Elsewhere not in registry.contracts()
    assert {job_type.options.name for job_type in registry.contracts()} == {
        module.name.replace("_", "-") for module in pkgutil.iter_modules(qstash_jobs.jobs.__path__)
    }


@pytest.mark.parametrize(
    ("lookup", "imported"), [("registry.get('probe')", True), ("list(registry)", True), ("registry.get('mine')", False)]
)
def test_contracts_are_imported_when_they_are_looked_for(lookup: str, imported: bool) -> None:
    """In a fresh process; a function that knows its own job type imports no other."""
    program = f"""
import sys
from qstash_jobs.job import Job, JobOptions, registry
class Mine(Job):
    options = JobOptions(name="mine")
{lookup}
print("qstash_jobs.jobs.probe" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(imported)]


def test_job_types_come_in_order() -> None:
    """By name, so that whatever is made from the registry is the same each time."""
    names = [job_type.options.name for job_type in registry]
    assert names == sorted(names)


def test_an_unknown_name_is_an_error_that_knows_the_others() -> None:
    """A misspelling is seen at a glance."""
    with pytest.raises(UnknownJobType, match=r"unknown job type 'prob'; known are .*probe") as caught:
        registry.get("prob")
    assert caught.value.name == "prob"


def test_a_registry_of_its_own_starts_empty() -> None:
    """Adding imports nothing."""
    assert Registry()._types == {}


# Payloads


class Address(Payload):
    """A model within a payload."""

    street_name: str
    house_number: int = 1


def payload_type() -> Any:
    class Move(Job):
        options = JobOptions(name="move")
        new_address: Address
        old_addresses: list[Address] = Field(default_factory=list)
        moved_at: timedelta | None = None

    return Move


def test_the_wire_speaks_camel_case() -> None:
    """At every level, as JSON values."""
    move = payload_type()(new_address=Address(street_name="Ring"), moved_at=timedelta(hours=1))
    assert move.wire() == {
        "newAddress": {"streetName": "Ring", "houseNumber": 1},
        "oldAddresses": [],
        "movedAt": "PT1H",
    }
    assert type(move).arrive(move.wire()) == move


def test_both_spellings_are_taken_at_the_call() -> None:
    """Python's and the wire's."""
    move = payload_type()
    wire = move(newAddress={"streetName": "Ring"})
    assert wire == move(new_address={"street_name": "Ring"})


@pytest.mark.parametrize(
    "fields",
    [
        {"new_address": {"street_name": "x"}, "speed": 1},
        {"new_address": {"street_name": "x", "town": "y"}},
        {"new_address": {"street_name": "x"}, "old_addresses": [{"street_name": "x", "town": "y"}]},
        {},
        {"new_address": {"street_name": None}},
    ],
)
def test_a_wrong_payload_fails_at_the_call(fields: dict[str, Any]) -> None:
    """In the app, not in the worker: a field too many or too few, at any level."""
    with pytest.raises(ValidationError):
        payload_type()(**fields)


def test_unknown_fields_are_ignored_on_arrival() -> None:
    """At any level, so that a newer app can talk to an older function."""
    address = {"streetName": "Ring", "houseNumber": 1}
    move = payload_type()
    arrived = move.arrive(
        {"newAddress": address | {"town": "x"}, "oldAddresses": [address | {"town": "x"}], "speed": 1}
    )
    assert arrived == move(new_address=Address(street_name="Ring"), old_addresses=[Address(street_name="Ring")])


@pytest.mark.parametrize("payload", [None, [], "text", 1, {}, {"newAddress": []}, {"newAddress": {"streetName": 1}}])
def test_a_wrong_payload_fails_on_arrival(payload: Any) -> None:
    """Lenient is not careless."""
    with pytest.raises(ValidationError):
        payload_type().arrive(payload)


def test_payloads_are_frozen() -> None:
    """What was validated stays so."""
    move = payload_type()(new_address=Address(street_name="Ring"))
    with pytest.raises(ValidationError, match="frozen"):
        move.moved_at = timedelta(1)
    with pytest.raises(ValidationError, match="frozen"):
        move.new_address.street_name = "x"
