"""What the console shows and the service does not offer: how much there is, what time it is, and all messages."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from infra.local.qstash.api.reading import query_selection, service_of
from infra.local.qstash.archive import Standing
from infra.local.qstash.clock import Clock
from infra.local.qstash.message import Json, milliseconds, present
from infra.local.qstash.settings import LIMITS
from infra.local.qstash.state import State


async def show_overview(request: Request) -> JSONResponse:
    """`now` is on the timeline, where all that is due is; `wall` is everybody's time."""
    service = service_of(request)
    engine = service.engine
    unsettled, dead_letters = service.archive.counts()
    active = engine.plan.inside
    plan = next((name for name, limits in LIMITS.items() if limits == service.settings.limits), None)
    return JSONResponse(
        {
            "waiting": unsettled - active,
            "active": active,
            "deadLetters": dead_letters,
            "schedules": len(service.schedules),
            "queues": len(engine.queues.all()),
            "flowControlKeys": len(engine.flow_keys),
            "urlGroups": len(service.url_groups.all()),
            "now": milliseconds(engine.clock.now()),
            "wall": milliseconds(engine.clock.wall()),
            "scale": engine.clock.scale,
            **present({"plan": plan}),
        }
    )


async def list_messages(request: Request) -> JSONResponse:
    """The newest first, settled ones too; `state` and the filters of a message's own fields narrow the list."""
    service = service_of(request)
    active = set(service.engine.plan.holders())
    page = service.archive.messages(query_selection(request), active)
    clock = service.engine.clock
    answer: Json = {"messages": [_as_json(one, clock, active=one.id in active) for one in page.entries]}
    return JSONResponse(answer | ({"cursor": page.cursor} if page.cursor else {}))


def _as_json(standing: Standing, clock: Clock, *, active: bool) -> Json:
    publication = standing.publication
    state = State.ACTIVE if active else standing.state
    waits = state in (State.CREATED, State.RETRY)
    return {
        "messageId": standing.id,
        "state": state,
        "url": publication.url,
        "method": publication.method,
        "createdAt": standing.created_ms,
        "retried": standing.retried,
        "maxRetries": publication.retries,
        "lastEvent": standing.last_event,
        **present(
            {
                "labels": list(publication.labels),
                "topicName": publication.topic,
                "queueName": publication.queue,
                "scheduleId": publication.schedule_id,
                "flowControlKey": publication.flow_control and publication.flow_control.key,
                "nextDeliveryTime": _due_ms(standing, clock) if waits else None,
                "cancelRequested": (standing.cancel_requested and not state.settled) or None,
            }
        ),
    }


def _due_ms(standing: Standing, clock: Clock) -> int:
    """On the timeline, also of a time that a destination gave on the wall clock."""
    return milliseconds(clock.anchor.at(standing.due_at) if standing.due_by_wall else standing.due_at)


routes = [
    Route("/admin/overview", show_overview, methods=["GET"]),
    Route("/admin/messages", list_messages, methods=["GET"]),
]
