"""URL groups ("topics"): a name that stands for several destinations; each gets a message of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from infra.local.qstash.clock import Clock
from infra.local.qstash.errors import NotFound, QuotaExceeded
from infra.local.qstash.message import Json, header_map, milliseconds, present
from infra.local.qstash.publication import Headers, Publication
from infra.local.qstash.settings import Limits
from infra.local.qstash.store import Store


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One destination of a group."""

    url: str
    name: str | None = None

    def as_json(self) -> Json:
        return present({"name": self.name, "url": self.url})


@dataclass(slots=True)
class UrlGroup:
    """A group; it has at least one endpoint."""

    name: str
    created_ms: int
    updated_ms: int
    endpoints: list[Endpoint] = field(default_factory=list)
    headers: Headers = ()
    """What every publication to the group says unless it says otherwise itself."""

    def as_json(self) -> Json:
        return {
            "name": self.name,
            "createdAt": self.created_ms,
            "updatedAt": self.updated_ms,
            "endpoints": [endpoint.as_json() for endpoint in self.endpoints],
            **present({"headers": header_map(self.headers)}),
        }

    def defaults_beside(self, pairs: Iterable[tuple[str, str]]) -> Headers:
        """The default headers that these of a request do not override."""
        said = {name.lower() for name, _ in pairs}
        return tuple((name, value) for name, value in self.headers if name.lower() not in said)


class UrlGroups:
    """All groups by name."""

    def __init__(self, store: Store, clock: Clock, limits: Limits) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._groups = {row[0]: _load(*row) for row in store.read("SELECT * FROM url_groups")}

    def all(self) -> list[UrlGroup]:
        return list(self._groups.values())

    def find(self, name: str) -> UrlGroup | None:
        return self._groups.get(name)

    def get(self, name: str) -> UrlGroup:
        """Raises NotFound."""
        if (group := self._groups.get(name)) is None:
            raise NotFound(f"topic {name[:64]} not found")
        return group

    def expand(self, publication: Publication) -> list[Publication]:
        """The publication to each endpoint of its group; itself if it is to none. Raises NotFound."""
        if publication.topic is None:
            return [publication]
        endpoints = self.get(publication.topic).endpoints
        return [replace(publication, url=endpoint.url, endpoint=endpoint.name) for endpoint in endpoints]

    def put_endpoints(self, name: str, endpoints: Iterable[Endpoint]) -> None:
        """Add endpoints, or change those with the same name or address; makes the group. Raises QuotaExceeded."""
        group = self._groups.get(name)
        changed = list(group.endpoints) if group is not None else []
        for endpoint in endpoints:
            same = [known for known in changed if _is_same(known, endpoint)]
            place = changed.index(same[0]) if same else len(changed)
            changed = [known for known in changed if known not in same]
            changed.insert(place, replace(endpoint, name=endpoint.name or (same[0].name if same else None)))
        if len(changed) > self._limits.endpoints:
            raise QuotaExceeded("maxEndpoints", self._limits.endpoints)
        group = self._ensure(name)
        group.endpoints = changed
        self._record(group)

    def remove_endpoints(
        self, name: str, endpoints: Iterable[tuple[str | None, str | None]], before_last: Callable[[], None]
    ) -> None:
        """Remove endpoints by their name or their address; the group goes with its last one, unless `before_last`
        raises. Raises NotFound."""
        group = self.get(name)
        left = list(group.endpoints)
        for endpoint_name, url in endpoints:
            left = [
                known
                for known in left
                if not (known.url == url or (endpoint_name is not None and known.name == endpoint_name))
            ]
        if left:
            group.endpoints = left
            self._record(group)
        else:
            before_last()
            self.delete(name)

    def set_headers(self, name: str, headers: Headers) -> None:
        """Set what publications to the group say by default. Raises NotFound."""
        group = self.get(name)
        group.headers = headers
        self._record(group)

    def delete(self, name: str) -> None:
        """Nothing happens if there is no such group; messages on their way go on."""
        if self._groups.pop(name, None) is not None:
            self._store.write("DELETE FROM url_groups WHERE name = ?", (name,))

    def _ensure(self, name: str) -> UrlGroup:
        if name not in self._groups:
            if len(self._groups) >= self._limits.url_groups:
                raise QuotaExceeded("maxTopics", self._limits.url_groups)
            now_ms = milliseconds(self._clock.wall())
            self._groups[name] = UrlGroup(name, now_ms, now_ms)
        return self._groups[name]

    def _record(self, group: UrlGroup) -> None:
        group.updated_ms = milliseconds(self._clock.wall())
        document = json.dumps(
            {"endpoints": [(endpoint.url, endpoint.name) for endpoint in group.endpoints], "headers": group.headers}
        )
        self._store.write(
            "INSERT OR REPLACE INTO url_groups VALUES (?, ?, ?, ?)",
            (group.name, group.created_ms, group.updated_ms, document),
        )


def _is_same(known: Endpoint, given: Endpoint) -> bool:
    return known.url == given.url or (given.name is not None and known.name == given.name)


def _load(name: str, created_ms: int, updated_ms: int, document: str) -> UrlGroup:
    kept = json.loads(document)
    return UrlGroup(
        name=name,
        created_ms=created_ms,
        updated_ms=updated_ms,
        endpoints=[Endpoint(url, endpoint_name) for url, endpoint_name in kept["endpoints"]],
        headers=tuple((header, value) for header, value in kept["headers"]),
    )
