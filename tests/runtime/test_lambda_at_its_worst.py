"""What Lambda does to functions, and what becomes of their jobs: kills, crashes, frozen environments, nothing writable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pytest

from qstash_jobs.jobs.export_data import ExportData
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.testing import signed_event
from tests.conftest import ROOT
from tests.runtime.conftest import World
from tests.runtime.environment import RuntimeEnvironment
from tests.runtime.proxy import Proxy
from tests.runtime.stage import DeployedStage
from tests.waiting import until


def test_nothing_but_tmp_can_be_written_to(world: World) -> None:
    """As in Lambda: the function's own folder and the layer are read-only, for root too."""
    written = json.loads(world.send("odd", path="/writes").body)
    assert written == {"task": "PermissionError", "opt": "PermissionError", "tmp": "written"}


def test_a_function_finds_its_packages_in_lambdas_order_and_no_secret_lies_about(world: World) -> None:
    """Its own folder, the layer, the runtime, Python's own; nothing of this machine. Variables hold no secret."""
    found = json.loads(world.send("odd", path="/path").body)
    unpacked = world.stage.unpacked
    task = unpacked.opt.parent / "task" / "odd"
    assert [str(task), str(unpacked.opt / "python"), str(unpacked.runtime)] == found["path"][:3]
    assert not [path for path in found["path"] if "site-packages" in path or path.startswith(f"{ROOT}/shared")]
    held = [
        text
        for value in world.stage.values.values()
        for text in (value.values() if isinstance(value, dict) else [value])
    ]
    assert [name for name, value in found["variables"].items() if any(text in value for text in held)] == []
    assert ":secret:" in found["variables"]["QSTASH_CURRENT_SIGNING_KEY"]


@pytest.mark.parametrize(
    "path", ["/raises", "/exits", "/unserialisable", "/large", "/strange-status"], ids=lambda path: path.strip("/")
)
def test_a_function_that_gives_no_answer_is_answered_for(world: World, path: str) -> None:
    """502, without a word of what was wrong; and the next request is served."""
    answer = world.send("odd", path=path)
    assert (answer.status, json.loads(answer.body)) == (502, {"Message": "Internal Server Error"})
    assert b"fire" not in answer.body
    assert world.send("odd", path="/writes").status == 200


def test_a_result_without_a_status_is_a_body(world: World) -> None:
    """Which is why answers are made in one place."""
    answer = world.send("odd", path="/no-status")
    assert (answer.status, json.loads(answer.body)) == (200, {"some": "value"})


def test_one_environment_takes_one_request(world: World) -> None:
    """429 for the other, which QStash repeats."""
    with ThreadPoolExecutor() as threads:
        slow = threads.submit(world.send, "odd", path="/waits")
        until(lambda: world.stage.urls.busy("odd"))
        assert world.send("odd", path="/no-status").status == 429
        assert slow.result().status == 200


def test_a_body_that_is_no_text_comes_as_base64_and_is_verified_as_it_was_sent(world: World) -> None:
    """Lambda encodes it; the signature is over the bytes. Here what was sent is no message, and that is found out only
    after its signature was accepted."""
    body = b"\xff\xfe\x00binary"
    headers = world.sign("probe", body) | {"content-type": "application/octet-stream"}
    answer = world.send("probe", headers=headers, content=body)
    assert (answer.status, answer.outcome) == (489, "invalid_message")
    forged = world.send("probe", headers=headers, content=body + b"!")
    assert (forged.status, forged.outcome) == (401, "unauthenticated")


def test_a_message_that_is_marked_as_no_text_runs(world: World) -> None:
    """A publisher that gives another content type, or none, is served as well."""
    job_id = world.create(Probe())
    event = signed_event(Probe(), job_id=job_id, by_reference=True)
    event["headers"]["content-type"] = "application/octet-stream"
    assert (world.post(event, "probe").outcome, world.row(job_id)["status"]) == ("completed", "completed")


def test_a_function_that_lambda_kills_leaves_a_job_that_goes_on(world: World) -> None:
    """It was deaf to its own deadline: 502 when its time is over. Its lease ends with it, so the next delivery runs."""
    job_id = world.create(Probe())
    event = signed_event(Probe(), job_id=job_id, by_reference=True, url=world.stage.address("odd") + "/stuck")
    assert world.post(event, "odd").status == 502
    assert "Task timed out after 2.00 seconds" in world.stage.urls.failures[-1]
    assert world.row(job_id)["status"] == "processing"
    until(lambda: world.post(event, "odd").outcome in {"completed", "duplicate"})
    assert world.outcomes(job_id) == [None, "completed"]


@pytest.fixture(scope="module")
def proxy(deployed: DeployedStage) -> Iterator[Proxy]:
    """Between one environment and Postgres."""
    folder = parse_qs(urlsplit(deployed.database_url).query)["host"][0]
    with Proxy(f"{folder}/.s.PGSQL.5432") as made:
        yield made


@pytest.fixture(scope="module")
def behind_proxy(deployed: DeployedStage, proxy: Proxy) -> Iterator[RuntimeEnvironment]:
    """An environment of the probe whose secret leads to Postgres by way of the proxy."""
    database = urlsplit(deployed.database_url).path
    dsn = {"DATABASE_URL": f"postgresql://postgres@127.0.0.1:{proxy.port}{database}?sslmode=disable"}
    arn = deployed.put_secret("database", dsn, suffix="-by-way-of-a-proxy")
    deployed.environments["slow-road"] = environment = deployed.start("probe", DATABASE_URL=arn, DATABASE_TIMEOUT="0.3")
    return environment


def deliver(world: World) -> tuple[int, str]:
    """A job of its own, by way of the proxy: what was answered."""
    job_id = world.create(Probe())
    event = signed_event(Probe(), job_id=job_id, by_reference=True, url=world.stage.address("slow-road"))
    answer = world.post(event, "slow-road")
    assert (answer.status == 200) == (world.row(job_id)["status"] == "completed")
    return answer.status, answer.outcome


def terminate(world: World) -> None:
    """Postgres ends the sessions of that database, but for our own."""
    world.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'qstash-jobs' AND pid <> pg_backend_pid()"
    )


CUTS: dict[str, Callable[[World, Proxy], None]] = {
    "terminated": lambda world, _proxy: terminate(world),
    "closed": lambda _world, proxy: proxy.close(),
    "reset": lambda _world, proxy: proxy.reset(),
    "black hole": lambda _world, proxy: proxy.silence(),
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_frozen_environment_wakes_up_with_a_dead_connection_and_works(
    world: World, proxy: Proxy, behind_proxy: RuntimeEnvironment, cut: str
) -> None:
    """Whatever became of the connection while the environment stood still, the first delivery after it is served, in
    the same environment."""
    assert deliver(world) == (200, "completed"), world.log
    pid = behind_proxy.runtime_pid
    with behind_proxy.frozen():
        CUTS[cut](world, proxy)
    assert deliver(world) == (200, "completed"), world.log
    assert pid == behind_proxy.runtime_pid


def test_what_a_job_enqueues_leaves_a_frozen_environment_whose_connections_died(world: World) -> None:
    """The publisher has connections of its own. Its messages leave before the answer, and wait for no relay."""
    address = "thawed@runtime.example"
    job = ExportData(export_type="users", format="csv", notify_email=address)
    assert world.wait(world.enqueue(job), "completed", "failed")["status"] == "completed"
    world.stage.mailbox.wait_for_mail(address)
    environment = world.stage.environment("export-data")
    with environment.frozen():
        terminate(world)
    world.stage.mailbox.clear()
    assert world.wait(world.enqueue(job), "completed", "failed")["status"] == "completed"
    world.stage.mailbox.wait_for_mail(address)
    assert "Publisher failed" not in environment.log


def test_a_database_that_is_away_is_waited_for(world: World, proxy: Proxy, behind_proxy: RuntimeEnvironment) -> None:
    """503 with `Retry-After`, and service as soon as it is back."""
    proxy.refuse()
    assert deliver(world) == (503, "database_unreachable"), world.log
    proxy.restore()
    assert deliver(world) == (200, "completed"), world.log


def test_secrets_that_cannot_be_read_are_waited_for(world: World) -> None:
    """503, and not 401: nobody can say yet whether the request is genuine, and QStash is to repeat it."""
    environment = world.stage.start("probe", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    world.stage.environments["cut-off"] = environment
    event = signed_event(Probe(), job_id=world.create(Probe()), url=world.stage.address("cut-off"))
    answer = world.post(event, "cut-off")
    assert (answer.status, "retry-after" in answer.headers) == (503, True), world.log
