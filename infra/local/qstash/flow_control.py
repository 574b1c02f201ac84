"""Flow-control keys: the limits that messages with the same key share, and what people set over them."""

from __future__ import annotations

from collections.abc import Callable

from infra.local.qstash.clock import Agenda, Clock
from infra.local.qstash.errors import NotFound
from infra.local.qstash.gates import Admit, FlowGate
from infra.local.qstash.message import Json
from infra.local.qstash.publication import FlowControl
from infra.local.qstash.store import Store


class FlowKeys:
    """The gates of all keys. A key is known from its first message, pause or pin on."""

    def __init__(self, store: Store, clock: Clock, timeline: Agenda, admit: Admit) -> None:
        self._store = store
        self._clock = clock
        self._new_gate: Callable[[], FlowGate] = lambda: FlowGate(admit, clock, timeline)
        self._gates: dict[str, FlowGate] = {}
        for key, paused, pinned_parallelism, parallelism, pinned_rate, rate, period in store.read(
            "SELECT * FROM flow_control"
        ):
            gate = self._gates[key] = self._new_gate()
            gate.paused = bool(paused)
            gate.pinned_parallelism, gate.parallelism = bool(pinned_parallelism), parallelism
            gate.pinned_rate, gate.rate, gate.period_seconds = bool(pinned_rate), rate, period

    def __len__(self) -> int:
        return len(self._gates)

    def gate(self, key: str) -> FlowGate:
        """The gate of this key, which is made when missing."""
        if (gate := self._gates.get(key)) is None:
            gate = self._gates[key] = self._new_gate()
        return gate

    def configure(self, control: FlowControl) -> None:
        """A message's limits become those of its key, unless they are pinned."""
        gate = self.gate(control.key)
        gate.configure(control)
        if gate.pinned_parallelism or gate.pinned_rate:
            self._record(control.key)

    def all(self, search: str = "") -> list[Json]:
        """Every key that contains `search`, by name, as a client is shown it."""
        return [_as_json(key, gate, self._clock) for key, gate in sorted(self._gates.items()) if search in key]

    def show(self, key: str) -> Json:
        """Raises NotFound."""
        if (gate := self._gates.get(key)) is None:
            raise NotFound(f"flow control key {key[:64]} not found")
        return _as_json(key, gate, self._clock)

    def pause(self, key: str, *, paused: bool) -> None:
        """While a key is paused its messages wait; periods go on."""
        gate = self.gate(key)
        gate.paused = paused
        self._record(key)
        gate.drain()

    def pin(self, key: str, *, parallelism: int | None, rate: int | None, period_seconds: int | None) -> None:
        """Keep these limits, whatever messages say; a pinned rate begins a new period."""
        self.gate(key).pin(parallelism=parallelism, rate=rate, period_seconds=period_seconds)
        self._record(key)

    def unpin(self, key: str, *, parallelism: bool, rate: bool) -> None:
        """Let messages set these limits again; until one does, they stay."""
        gate = self.gate(key)
        gate.pinned_parallelism &= not parallelism
        gate.pinned_rate &= not rate
        self._record(key)

    def reset_rate(self, key: str) -> None:
        """Begin a new period now."""
        self.gate(key).begin_period()

    def _record(self, key: str) -> None:
        gate = self._gates[key]
        if not (gate.paused or gate.pinned_parallelism or gate.pinned_rate):
            self._store.write("DELETE FROM flow_control WHERE key = ?", (key,))
            return
        self._store.write(
            "INSERT OR REPLACE INTO flow_control VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                gate.paused,
                gate.pinned_parallelism,
                gate.parallelism,
                gate.pinned_rate,
                gate.rate,
                gate.period_seconds,
            ),
        )


def _as_json(key: str, gate: FlowGate, clock: Clock) -> Json:
    return {
        "flowControlKey": key,
        "waitListSize": len(gate.waiting),
        "parallelismMax": gate.parallelism or 0,
        "parallelismCount": gate.inside,
        "rateMax": gate.rate or 0,
        "rateCount": gate.started if gate.in_period else 0,
        "ratePeriod": gate.period_seconds if gate.rate else 0,
        "ratePeriodStart": int(clock.wall_of(gate.period_start)) if gate.in_period else 0,
        "isPaused": gate.paused,
        "isPinnedParallelism": gate.pinned_parallelism,
        "isPinnedRate": gate.pinned_rate,
    }
