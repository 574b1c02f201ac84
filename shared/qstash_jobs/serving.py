"""Serve a job type: one delivery from QStash is one pass through seven steps.

    authenticate -> parse -> start -> run -> judge -> settle -> respond

Each step is a method of `Delivery`, in this order. A step that ends the delivery early raises `Ended` with the answer.
"""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, uuid4

from pydantic import JsonValue, ValidationError

from qstash_jobs import verdict
from qstash_jobs.callers import caller_of
from qstash_jobs.database import Database, database
from qstash_jobs.deadline import deadline, reserved
from qstash_jobs.drivers import Row
from qstash_jobs.envelope import Envelope, firing
from qstash_jobs.errors import (
    ConfigurationError,
    DatabaseUnreachable,
    InvalidMessage,
    JobCancelled,
    NonRetryable,
    Retry,
    SettingsUnreachable,
    SignatureRejected,
    StatementRefused,
)
from qstash_jobs.executions import store
from qstash_jobs.executions.literals import NotStorable
from qstash_jobs.executions.outbox import NewExecution, insert_sql
from qstash_jobs.executions.state import Status, Verb
from qstash_jobs.job import Job
from qstash_jobs.request import LambdaContext, Request, response
from qstash_jobs.run import Done, Outcome, Run
from qstash_jobs.settings import Settings, settings
from qstash_jobs.telemetry import Telemetry
from qstash_jobs.verdict import Answer, Verdict

if TYPE_CHECKING:
    from sqlalchemy import Connection

J = TypeVar("J", bound=Job)
T = TypeVar("T")
Handler = Callable[[J, Run], Outcome]
LambdaHandler = Callable[[Mapping[str, Any], LambdaContext], dict[str, Any]]

PROGRESS_INTERVAL_SECONDS = 1.0
"""Reports of progress that come faster than this are not all written."""

SUPERSEDED = "the lease ended before the attempt did"

_LONGEST_PAUSE_SECONDS = 1.0

_ANSWER_TIME = timedelta(milliseconds=100)
"""Left to answer in, when the database takes all the time there is."""


def serve(job_type: type[J], function: Handler[J]) -> LambdaHandler:
    """The Lambda handler that runs `function` for each delivery of `job_type`.

    >>> handler = serve(SendEmail, send)

    Nothing is read and nothing opened before the first delivery, which raises `ConfigurationError` when a variable of
    the environment is malformed. One that is missing, or a secret that is of no use, is answered 503 and logged.
    """
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(f"calling {function.__qualname__} runs nothing: a handler is a plain function")
    worker = Worker(job_type, function)

    def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
        return worker.handle(event, context)

    return handler


class Ended(Exception):  # not an error: the delivery's early end
    """The delivery ends here, with this answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.reason)
        self.answer = answer


class Worker:
    """What lives as long as the Lambda environment: settings, the connection, telemetry."""

    def __init__(self, job_type: type[Job], function: Handler[Any]) -> None:
        self.job_type = job_type
        self.function = function
        self.cold = True

    @cached_property
    def settings(self) -> Settings:
        """Read at the first delivery."""
        return settings()

    @cached_property
    def database(self) -> Database:
        """Opened after the first signature was accepted."""
        return database()

    @cached_property
    def telemetry(self) -> Telemetry:
        """One logger and one set of metrics."""
        return Telemetry(self.job_type.options.name, self.settings.metrics_namespace)

    def handle(self, event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
        """One invocation."""
        with self.telemetry.delivery(context.aws_request_id):
            delivery = Delivery(self, context)
            answer = delivery.pass_through(event)
            self.cold = False
            body = {"outcome": answer.reason, "jobId": str(delivery.job_id) if delivery.job_id else None}
            return response(answer.status, body, answer.headers)


@dataclass(frozen=True)
class Message:
    """A job message that QStash delivered."""

    envelope: Envelope
    job_id: UUID
    message_id: str | None
    retried: int
    schedule_id: str | None


class Delivery:
    """One delivery, from the request to the answer."""

    def __init__(self, worker: Worker, context: LambdaContext) -> None:
        self._worker = worker
        self._options = worker.job_type.options
        self._names = (self._options.name, *self._options.aliases)
        self._context = context
        self._telemetry = worker.telemetry
        self._owner = uuid4()
        self._progress_due = 0.0
        self._saved_in: Connection | None = None
        self.job_id: UUID | None = None

    def pass_through(self, event: Mapping[str, Any]) -> Answer:
        """The seven steps."""
        try:
            request = self._authenticate(event)
            message = self._parse(request)
            started = self._start(message)
            began = time.monotonic()
            value = self._run(started)
            judged = self._judge(value, started, message)
            answer = self._settle(judged, started)
        except Ended as ended:
            return ended.answer
        except (ConfigurationError, SettingsUnreachable) as error:
            # Before the handler began: what it raises itself is judged.
            self._telemetry.without_settings(error)
            return verdict.without_settings(error)
        return self._respond(answer, judged, time.monotonic() - began)

    def _authenticate(self, event: Mapping[str, Any]) -> Request:
        try:
            request = Request.from_event(event)
            if request.method != "POST":
                raise Ended(verdict.METHOD_NOT_ALLOWED)
            request.authenticate(self._worker.settings, self._options.name)
        except SignatureRejected as error:
            self._telemetry.rejected(error.reason)
            raise Ended(verdict.UNAUTHENTICATED) from None
        except InvalidMessage:
            self._telemetry.rejected("undecodable")
            raise Ended(verdict.UNAUTHENTICATED) from None
        return request

    def _parse(self, request: Request) -> Message:
        message_id = request.headers.get("upstash-message-id")
        try:
            envelope = Envelope.decode(request.body)
            job_id = envelope.job_id or (firing(message_id) if message_id else None)
            if job_id is None:
                raise InvalidMessage("the message names no job, and QStash named no message")
        except InvalidMessage as error:
            self._refuse(str(error))
            raise Ended(verdict.final("invalid_message")) from None
        self.job_id = job_id
        self._telemetry.keep(job_id=str(job_id), job_type=envelope.type, message_id=message_id)
        if envelope.type not in self._names:
            self._refuse(f"this function serves {self._options.name}, not {envelope.type[:100]!r}")
            raise Ended(verdict.final("unknown_type"))
        retried = request.headers.get("upstash-retried", "0")
        return Message(
            envelope=envelope,
            job_id=job_id,
            message_id=message_id,
            retried=int(retried) if retried.isdecimal() and len(retried) < 4 else 0,
            schedule_id=request.headers.get("upstash-schedule-id"),
        )

    def _start(self, message: Message) -> store.Started:
        arrival = store.Arrival(
            job_id=message.job_id,
            job_types=self._names,
            generation=message.envelope.generation,
            publication=message.envelope.publication,
            lease_owner=self._owner,
            lease=self._remaining(),
            message_id=message.message_id,
            request_id=self._context.aws_request_id,
            cold_start=self._worker.cold,
            new=message.envelope.execution(message.job_id, self._options, message.schedule_id),
        )
        try:
            started = self._twice(lambda: store.start(self._run_halfway, arrival))
            if started is None:
                raise Ended(self._turn_away(arrival))
        except NotStorable as error:
            self._refuse(str(error))
            raise Ended(verdict.final("not_storable")) from None
        except StatementRefused as error:
            self._refuse(str(error))
            raise Ended(verdict.refused(error)) from error
        except DatabaseUnreachable as error:
            self._telemetry.logger.error("Database unreachable", extra={"reason": str(error)})
            self._telemetry.count("DatabaseUnreachable")
            raise Ended(verdict.UNREACHABLE) from None
        self._telemetry.keep(attempt=started.attempt)
        self._telemetry.milliseconds("QueueLatency", started.waited / timedelta(milliseconds=1))
        self._telemetry.logger.info("Processing job", extra={"max_attempts": started.max_attempts})
        return started

    def _turn_away(self, arrival: store.Arrival) -> Answer:
        run = self._run_halfway
        payload = arrival.new.payload if arrival.new else None
        standing = self._twice(lambda: store.look(run, arrival.job_id, payload))
        judged = verdict.judge_standing(
            standing,
            known_names=self._names,
            brings_payload=arrival.new is not None,
            generation=arrival.generation,
            publication=arrival.publication,
        )
        match judged:
            case Verb.FAIL:
                failed = self._twice(lambda: store.give_up(run, arrival.job_id))
                answer = verdict.final("lost") if failed else verdict.busy(timedelta(0))
            case Verb.CANCEL:
                self._twice(lambda: store.cancel(run, arrival.job_id, by="the delivery after the cancelled attempt"))
                answer = Answer(200, "cancelled")
            case Answer():
                answer = judged
        self._telemetry.logger.info("Delivery turned away", extra={"reason": answer.reason})
        if answer.reason in {"duplicate", "stale", "busy", "not_due"}:
            self._telemetry.count("JobsDuplicate")
        if answer.reason == "lost":
            self._telemetry.count("JobsFailed")
        return answer

    def _run(self, started: store.Started) -> object:
        """What the handler returned, or the exception that it raised."""
        remaining = self._remaining()
        until = time.monotonic() + (remaining - reserved(remaining)).total_seconds()
        assert self.job_id is not None
        run = Run(
            job_id=self.job_id,
            attempt=started.attempt,
            max_attempts=started.max_attempts,
            checkpoint=started.checkpoint,
            user_id=started.user_id,
            organization_id=started.organization_id,
            logger=self._telemetry.logger,  # type: ignore[arg-type]
            _remaining=lambda: timedelta(seconds=max(0.0, until - time.monotonic())),
            _progress=lambda fraction, message: self._report(started.attempt, fraction, message),
            _connection=lambda: self._worker.database.transaction(
                timedelta(seconds=max(0.0, until - time.monotonic()))
            ),
            _save=lambda checkpoint, connection: self._save(started.attempt, checkpoint, connection),
        )
        try:
            payload = self._worker.job_type.arrive(started.payload)
        except ValidationError as error:
            return verdict.invalid_payload(error)
        except Exception as error:  # noqa: BLE001  # a validator's own mistake is judged like the handler's
            return error
        try:
            with deadline(run.remaining):
                return self._worker.function(payload, run)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # whatever it raised is judged next, also `sys.exit`
            return error
        finally:
            self._worker.database.take_back()

    def _report(self, attempt: int, fraction: float, message: str | None) -> None:
        now = time.monotonic()
        if now < self._progress_due and fraction < 1:
            return
        self._progress_due = now + PROGRESS_INTERVAL_SECONDS
        database = self._worker.database
        if self._saved_in is not None and self._saved_in.in_transaction():
            run = caller_of(self._saved_in).run  # it holds the row, for which any other connection would wait
        else:
            run = database.run_pooled if database.in_transaction else database.run
        assert self.job_id is not None
        text = None if message is None else verdict.clean(message, verdict.ERROR_LIMIT)
        job_id = self.job_id
        try:
            cancelled = self._twice(lambda: store.record_progress(run, job_id, attempt, fraction, text))
        except DatabaseUnreachable as error:  # no reason to give the work up: how it ends is reported for longer
            self._telemetry.logger.warning("Progress not recorded", extra={"reason": str(error)})
            return
        if cancelled is None:  # what this says changes nothing but this attempt's own row
            raise Retry(timedelta(0), SUPERSEDED)
        if cancelled:
            raise JobCancelled("the job was cancelled")

    def _save(self, attempt: int, checkpoint: JsonValue, connection: Connection | None) -> None:
        assert self.job_id is not None
        job_id = self.job_id
        try:
            if connection is None:
                run = self._worker.database.run
                saved = self._twice(lambda: store.save(run, job_id, attempt, self._owner, checkpoint))
            else:
                saved = store.save(caller_of(connection).run, job_id, attempt, self._owner, checkpoint)
                self._saved_in = connection
        except NotStorable as error:
            raise NonRetryable(f"the checkpoint cannot be stored: {error}") from None
        if not saved:
            raise Retry(timedelta(0), SUPERSEDED)

    def _judge(self, value: object, started: store.Started, message: Message) -> Verdict:
        wait = self._worker.settings.scaled(verdict.backoff(message.retried, self._options.retry_delay))
        if isinstance(value, BaseException):
            return verdict.judge_error(value, attempt=started.attempt, max_attempts=started.max_attempts, wait=wait)
        try:
            follow_ups = self._follow_ups(value, started)
        except Exception as error:  # noqa: BLE001  # what the handler returned cannot be enqueued: its mistake
            return verdict.judge_error(error, attempt=started.attempt, max_attempts=started.max_attempts, wait=wait)
        return verdict.judge_return(
            value,
            attempt=started.attempt,
            max_attempts=started.max_attempts,
            checkpoint=started.checkpoint,
            wait=wait,
            follow_ups=follow_ups,
        )

    def _follow_ups(self, value: object, started: store.Started) -> tuple[NewExecution, ...]:
        if not isinstance(value, Done) or not value.then:
            return ()
        from qstash_jobs.dispatch import EnqueueOptions, new_execution

        whose: EnqueueOptions = {"user_id": started.user_id, "organization_id": started.organization_id}
        news = tuple(new_execution(job, whose) for job in value.then)
        insert_sql(news)  # raises `NotStorable` here, where it can still be judged
        return news

    def _settle(self, judged: Verdict, started: store.Started) -> Answer:
        """Record the end, for as long as it takes and there is time."""
        assert self.job_id is not None
        pause_seconds = 0.05
        finish = judged.finish
        while True:
            try:
                finished = store.finish(self._run_to_the_end, self.job_id, started.attempt, self._owner, finish)
            except StatementRefused as error:
                if finish != judged.finish or not verdict.is_about_data(error):
                    raise
                self._telemetry.logger.error("Result not storable", extra={"reason": str(error)})
                finish = verdict.without_data(finish, error)
            # Of these, the second is about a password that was just changed.
            except (DatabaseUnreachable, ConfigurationError, SettingsUnreachable) as error:
                if self._remaining() <= timedelta(seconds=pause_seconds) + _ANSWER_TIME:
                    self._telemetry.logger.error("Attempt not recorded", extra={"reason": str(error)})
                    self._telemetry.count("DatabaseUnreachable")
                    raise Ended(Answer(503, "not_recorded", self._remaining() + timedelta(seconds=1))) from None
                time.sleep(pause_seconds)
                pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
            else:
                break
        if not finished.moved:
            self._telemetry.logger.warning("Attempt superseded", extra={"status": finished.status})
            self._telemetry.count("JobsDuplicate")
            raise Ended(verdict.judge_unmoved(finished.status))
        if finished.status is Status.CANCELLED:
            return Answer(200, "cancelled")
        return judged.answer

    def _respond(self, answer: Answer, judged: Verdict, took_seconds: float) -> Answer:
        logger = self._telemetry.logger
        self._telemetry.milliseconds("JobDuration", took_seconds * 1000)
        match answer.reason:
            case "completed" | "continued" | "cancelled":
                name = {"completed": "JobsCompleted", "continued": "JobsContinued", "cancelled": "JobsCancelled"}
                self._telemetry.count(name[answer.reason])
                logger.info(f"Job {answer.reason}", extra={"seconds": round(took_seconds, 3)})
            case "failed":
                self._telemetry.count("JobsFailed")
                logger.error("Job failed", extra=self._failure(judged), exc_info=judged.error)
            case _:
                self._telemetry.count("JobsRetried")
                logger.warning("Job will be retried", extra=self._failure(judged), exc_info=judged.error)
        self._publish(judged)
        return answer

    def _publish(self, judged: Verdict) -> None:
        """Send what this delivery left in the outbox before the environment is frozen; the relay sends the rest."""
        relay = sys.modules.get("qstash_jobs.relay")
        if relay is None:
            return
        if judged.finish.then:
            relay.publisher.wake([new.job_id for new in judged.finish.then])
        relay.publisher.flush(min(self._remaining() - _ANSWER_TIME, self._worker.settings.qstash_timeout))

    def _refuse(self, reason: str) -> None:
        self._telemetry.logger.error("Message refused", extra={"reason": reason})
        self._telemetry.count("MessagesRefused")

    def _failure(self, judged: Verdict) -> dict[str, Any]:
        return {"error": judged.finish.error, "error_type": judged.finish.error_type}

    def _run_halfway(self, sql: str) -> list[Row]:
        return self._worker.database.run(sql, (self._remaining() - _ANSWER_TIME) / 2)

    def _run_to_the_end(self, sql: str) -> list[Row]:
        return self._worker.database.run(sql, self._remaining() - _ANSWER_TIME)

    def _remaining(self) -> timedelta:
        return timedelta(milliseconds=max(0, self._context.get_remaining_time_in_millis()))

    def _twice(self, step: Callable[[], T]) -> T:
        """A kept connection may have died while the environment was frozen: one more try, on a fresh one.

        Every step is safe to repeat after a lost reply.
        """
        try:
            return step()
        except DatabaseUnreachable:
            return step()
