"""The life of an execution, drawn from `MOVES` and told in the words that stand beside its members."""

from __future__ import annotations

from infra.docs import docstrings
from infra.docs.markdown import code, sentence, table
from qstash_jobs.executions.state import ENDED, MOVES, Outcome, Status, Verb


def diagram() -> str:
    """A state diagram in Mermaid."""
    labels: dict[tuple[Status, Status], list[str]] = {}
    for verb, move in MOVES.items():
        for source in move.sources:
            labels.setdefault((source, move.target), []).append(verb.value)
    arrows = [f"    {source} --> {target}: {', '.join(verbs)}" for (source, target), verbs in labels.items()]
    ends = [f"    {status} --> [*]" for status in Status if status in ENDED]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> pending: enqueue", *arrows, *ends, "```"])


def statuses() -> str:
    """What each status means, who moves it on, and where it can go."""
    words = docstrings.of_members(Status)
    rows = [[code(status.value), sentence(words.get(status.name, "")), _ways_out(status)] for status in Status]
    return table(["status", "what it means, and who moves it on, also after a crash", "moves out of it"], rows)


def verbs() -> str:
    """What each move is, from where it is allowed, and where it leads."""
    words = docstrings.of_members(Verb)
    rows = [
        [
            code(verb.value),
            ", ".join(code(source.value) for source in move.sources),
            code(move.target.value),
            sentence(words.get(verb.name, "")),
        ]
        for verb, move in MOVES.items()
    ]
    return table(["move", "from", "to", "when"], rows)


def outcomes() -> str:
    """How an attempt can end."""
    words = docstrings.of_members(Outcome)
    rows = [[code(outcome.value), sentence(words.get(outcome.name, "")) or "The job ended so."] for outcome in Outcome]
    return table(["outcome", "meaning"], rows)


def _ways_out(status: Status) -> str:
    ways = [f"{code(verb.value)} → {code(move.target.value)}" for verb, move in MOVES.items() if status in move.sources]
    return ", ".join(ways) or "none"
