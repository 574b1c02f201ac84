"""One server's parts, put together."""

from __future__ import annotations

from dataclasses import dataclass

from infra.local.qstash.archive import Archive
from infra.local.qstash.clock import Anchor, Clock
from infra.local.qstash.delivery import Courier
from infra.local.qstash.destination import Destinations
from infra.local.qstash.engine import Engine
from infra.local.qstash.faults import Faults
from infra.local.qstash.keys import SigningKeys
from infra.local.qstash.ledger import Ledger, Listener
from infra.local.qstash.options import OptionReader
from infra.local.qstash.quota import DailyQuota
from infra.local.qstash.schedules import Schedules
from infra.local.qstash.settings import Settings
from infra.local.qstash.store import Store
from infra.local.qstash.url_groups import UrlGroups

ANCHOR = "anchor"


@dataclass(frozen=True, kw_only=True)
class Service:
    """What the endpoints work with. `open` and `close` belong inside one event loop."""

    settings: Settings
    store: Store
    courier: Courier
    engine: Engine
    schedules: Schedules
    url_groups: UrlGroups
    quota: DailyQuota
    archive: Archive
    keys: SigningKeys
    options: OptionReader
    destinations: Destinations
    faults: Faults

    def advance(self, seconds: float) -> None:
        """Move the timeline, also over a restart."""
        self.engine.advance(seconds)
        self._keep_anchor()

    async def close(self) -> None:
        """Let attempts end, and write everything down."""
        await self.engine.stop()
        await self.courier.close()
        self.store.close()

    def _keep_anchor(self) -> None:
        anchor = self.engine.clock.anchor
        value = f"{anchor.timeline!r} {anchor.wall!r} {anchor.scale!r}"
        self.store.write("INSERT OR REPLACE INTO meta VALUES (?, ?)", (ANCHOR, value))

    @classmethod
    def open(cls, settings: Settings, listener: Listener | None = None) -> Service:
        """Open the database and take up what a former run left. Raises DatabaseUnusable."""
        store = Store(settings.database)
        clock = Clock(settings.time_scale, _kept_anchor(store))
        destinations = Destinations(settings.host_map, allow_remote=settings.allow_remote)
        options = OptionReader(settings.limits, destinations)
        keys = SigningKeys(store, settings)
        faults = Faults()
        ledger = Ledger(store, clock, settings.limits.retention_seconds, listener)
        courier = Courier(settings, destinations, lambda: keys.current)
        quota = DailyQuota(store, clock, settings.limits)
        engine = Engine(settings, store, clock, ledger, courier, options, faults, quota)
        url_groups = UrlGroups(store, clock, settings.limits)
        service = cls(
            settings=settings,
            store=store,
            courier=courier,
            engine=engine,
            schedules=Schedules(store, engine, ledger, settings.limits, url_groups, quota),
            url_groups=url_groups,
            quota=quota,
            archive=Archive(store),
            keys=keys,
            options=options,
            destinations=destinations,
            faults=faults,
        )
        service._keep_anchor()
        ledger.prune()
        courier.open()
        engine.recover()
        service.schedules.recover()
        return service


def _kept_anchor(store: Store) -> Anchor | None:
    rows = store.read("SELECT value FROM meta WHERE name = ?", (ANCHOR,))
    if not rows:
        return None
    timeline, wall, scale = (float(part) for part in rows[0][0].split())
    return Anchor(timeline, wall, scale)
