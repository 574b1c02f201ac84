"""The processes that run a function: what they see, how many there are, and how they end."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import timedelta

PID = """
import os

def handler(event, context):
    return os.getpid()
"""

WAIT_FOR_A_FILE = """
import os, pathlib, time

def handler(event, context):
    print("started")
    while not pathlib.Path(os.environ["RELEASE"]).exists():
        time.sleep(0.01)
    return os.getpid()
"""


def test_the_context_is_lambdas(serve):
    """The context names function, request, memory and log, as Lambda's own does."""
    response = serve(
        """
        def handler(event, context):
            same_request = context.aws_request_id == event["requestContext"]["requestId"]
            return [same_request, context.function_name, context.function_version, context.memory_limit_in_mb,
                    context.invoked_function_arn, context.log_group_name, context.log_stream_name]
        """,
        memory=1024,
    ).get()

    *known, stream = response.json()
    assert known == [
        True,
        "sample-function",
        "$LATEST",
        "1024",
        "arn:aws:lambda:us-east-1:000000000000:function:sample-function",
        "/aws/lambda/sample-function",
    ]
    assert "/[$LATEST]" in stream


def test_the_remaining_time_counts_down_from_the_timeout(serve):
    """A handler learns how long it still has, in milliseconds."""
    first, later = (
        serve(
            """
            import time

            def handler(event, context):
                first = context.get_remaining_time_in_millis()
                time.sleep(0.2)
                return [first, context.get_remaining_time_in_millis()]
            """,
            timeout=timedelta(seconds=40),
        )
        .get()
        .json()
    )

    assert 30_000 < first <= 40_000
    assert later <= first - 199


def test_the_process_sees_lambdas_variables_and_those_given(serve, monkeypatch):
    """Nothing of the gateway's own environment leaks into a function, besides what Python needs to run."""
    monkeypatch.setenv("SECRET_OF_THE_DESK", "x")
    seen = (
        serve(
            "import os\ndef handler(event, context):\n    return dict(os.environ)",
            environment={"DATABASE_URL": "postgresql://", "AWS_REGION": "eu-central-1"},
        )
        .get()
        .json()
    )

    assert (seen["DATABASE_URL"], seen["AWS_REGION"]) == ("postgresql://", "eu-central-1")
    assert (seen["AWS_LAMBDA_FUNCTION_NAME"], seen["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]) == ("sample-function", "512")
    own = {name for name in seen if name.startswith(("AWS_", "LAMBDA_", "LC_")) or name == "_HANDLER"}
    assert seen.keys() - own <= {
        "DATABASE_URL", "HOME", "LANG", "PATH", "PYTHONPATH", "TMPDIR", "TZ", "VIRTUAL_ENV",
    }  # fmt: skip


def test_nothing_of_the_gateway_is_loaded_in_a_functions_process(serve):
    """A function's process has imported the standard library and its own modules only."""
    loaded = serve("import sys\ndef handler(event, context):\n    return sorted(sys.modules)").get().json()

    assert [name for name in loaded if name.startswith(("infra", "aiohttp", "qstash_jobs"))] == []


def test_handlers_run_in_the_main_thread(serve):
    """A handler may set an interval timer, whose signal interrupts what it waits for."""
    response = serve(
        """
        import signal, time

        class Struck(BaseException):
            pass

        def strike(number, frame):
            raise Struck

        def handler(event, context):
            signal.signal(signal.SIGALRM, strike)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            try:
                time.sleep(60)
            except Struck:
                return "struck"
        """
    ).get()

    assert response.json() == "struck"


def test_an_environment_starts_on_demand_and_stays_warm(serve):
    """No process before the first request; later ones find the same, with its state."""
    served = serve("count = 0\ndef handler(event, context):\n    global count\n    count += 1\n    return count")

    assert served.pids() == []
    assert [served.get().json() for _ in range(3)] == [1, 2, 3]
    assert len(served.pids()) == 1


def test_each_request_at_the_same_time_has_a_process_of_its_own(serve, tmp_path):
    """Environments start until the limit; beyond it a request is refused at once; then they are free again."""
    release = tmp_path / "release"
    served = serve(WAIT_FOR_A_FILE, environments=2, environment={"RELEASE": str(release)})
    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(served.get) for _ in range(2)]
        served.log.wait_for("started", count=2)
        refused = served.get()
        release.touch()
        pids = {future.result().json() for future in running}

    assert (refused.status_code, refused.json()) == (429, {"Message": "Rate Exceeded."})
    assert set(served.pids()) == pids
    assert len(pids) == 2
    assert served.get().json() in pids


def test_as_many_requests_wait_as_are_let(serve, tmp_path):
    """With `waiting`, a request beyond the environments waits for a free one; one more is refused."""
    release = tmp_path / "release"
    served = serve(WAIT_FOR_A_FILE, environments=1, waiting=1, environment={"RELEASE": str(release)})
    with ThreadPoolExecutor(3) as threads:
        requests = [threads.submit(served.get) for _ in range(3)]
        first_done = next(as_completed(requests, timeout=60)).result()
        release.touch()

    assert first_done.status_code == 429
    assert sorted(request.result().status_code for request in requests) == [200, 200, 429]
    assert len(served.pids()) == 1


def test_an_environment_takes_one_request_at_a_time(serve):
    """Many callers share one process without ever meeting in it."""
    served = serve(
        """
        import threading, time

        inside = 0

        def handler(event, context):
            global inside
            inside += 1
            together, threads = inside, threading.current_thread() is threading.main_thread()
            time.sleep(0.002)
            inside -= 1
            return [together, threads]
        """,
        environments=1,
        waiting=50,
    )
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: served.get().json(), range(40)))

    assert results == [[1, True]] * 40


def test_a_request_beyond_the_timeout_is_killed(serve):
    """The process is gone when the caller gets 502; the log says why; the next request starts afresh."""
    served = serve(
        """
        import os, time

        def handler(event, context):
            if event.get("body") == "hang":
                while True:
                    try:
                        time.sleep(60)
                    except BaseException:
                        pass
            return os.getpid()
        """,
        timeout=timedelta(seconds=1),
        environments=1,
    )
    first = served.get().json()
    response = served.post(content="hang", headers={"content-type": "text/plain"})

    assert (response.status_code, response.json()) == (502, {"Message": "Internal Server Error"})
    assert served.pids() == []
    assert "Task timed out after 1.00 seconds" in served.log.lines[-1]
    assert first != served.get().json()


def test_a_crash_is_a_bad_gateway_at_once(serve):
    """A process that ends within a request costs that request only; what it wrote before is in the log."""
    served = serve(
        """
        import os, sys

        def handler(event, context):
            if event.get("body"):
                sys.stdout.write("last words")
                sys.stdout.flush()
                os._exit(3)
            return os.getpid()
        """,
        environments=1,
    )
    first = served.get().json()
    response = served.post(content="x")

    assert (response.status_code, response.json()) == (502, {"Message": "Internal Server Error"})
    assert served.log.lines[-2] == "last words"
    assert served.log.lines[-1].endswith("Error: Runtime exited with exit status 3")
    assert first != served.get().json()


def test_what_is_no_exception_ends_the_process(serve):
    """`sys.exit` in a handler is a crash, as in Lambda's runtime."""
    served = serve("import sys\ndef handler(event, context):\n    sys.exit(1)")

    assert served.get().status_code == 502
    assert served.pids() == []


def test_killed_environments_fail_their_requests(serve, tmp_path):
    """`kill_environments` ends running requests with 502, and later ones start afresh."""
    release = tmp_path / "release"
    served = serve(WAIT_FOR_A_FILE, environments=1, environment={"RELEASE": str(release)})
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(served.get)
        served.log.wait_for("started")
        killed = served.gateway.kill_environments("sample-function")
        assert running.result().status_code == 502
    release.touch()

    assert served.get().json() not in killed
    assert any("signal SIGKILL" in line for line in served.log.lines)


def test_a_process_that_died_between_requests_costs_none(serve):
    """A request that follows the death of an idle environment gets a fresh one."""
    served = serve(PID, environments=1)
    for _ in range(5):
        first = served.get().json()
        os.kill(first, signal.SIGKILL)
        while first in served.pids():
            time.sleep(0.001)

        assert first != served.get().json()


def test_a_handler_that_cannot_be_imported_is_tried_again_by_each_request(serve):
    """An error at import is 502 with its traceback in the log; once mended, the next request succeeds."""
    served = serve("import no_such_module\ndef handler(event, context):\n    return 1")
    first = served.get()

    assert (first.status_code, first.json()) == (502, {"Message": "Internal Server Error"})
    assert "ModuleNotFoundError: No module named 'no_such_module'" in served.log.text
    assert served.pids() == []

    served.source.write_text("def handler(event, context):\n    return 2")
    assert served.get().json() == 2


def test_requests_that_wait_for_a_failing_start_all_fail(serve):
    """Each request costs at most one start, and none is left waiting."""
    served = serve("print('trying')\nraise RuntimeError", environments=1, waiting=2)
    with ThreadPoolExecutor(3) as threads:
        statuses = list(threads.map(lambda _: served.get().status_code, range(3)))

    assert statuses == [502] * 3
    assert served.log.lines.count("trying") == 3


def test_the_log_has_every_line_before_the_caller_has_the_answer(serve):
    """Lines of stdout and stderr arrive in order and untouched: JSON stays JSON."""
    served = serve(
        """
        import sys

        def handler(event, context):
            print('{"level": "INFO", "message": "größer"}')
            print("to stderr", file=sys.stderr)
            sys.stdout.write("in two ")
            sys.stdout.write("writes\\n")
            return 1
        """
    )
    for _ in range(50):
        served.log.lines.clear()
        served.get()
        assert served.log.lines == ['{"level": "INFO", "message": "größer"}', "to stderr", "in two writes"]
