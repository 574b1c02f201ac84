"""What QStash's refusals mean to who deploys, and what to do about each. Pure."""

from __future__ import annotations

import re

from qstash_jobs.errors import PublishFailed

CONSOLE = "the Upstash console shows both, on the page of QStash, when the region is chosen there"


def sentence(error: PublishFailed, what: str, url: str) -> str:
    """About a schedule or a message, `what`, that QStash at `url` did not take."""
    said = str(error)
    if error.of_the_token:
        return (
            f"{what}: QStash at {url} does not know the token ({said}). Each region of QStash has an address and a token of "
            f"its own: {CONSOLE}. Set that address as QSTASH_URL, put that token with `jobs secrets put`, and deploy again."
        )
    if error.status == 412 or re.search(r"\bquota\b|maxSchedules", said):
        there = (
            "what there is with `jobs schedules list`" if "chedule" in what else "what there is in the Upstash console"
        )
        return (
            f"{what}: QStash's plan takes no more of them ({said}). See {there}, delete what nobody needs, or choose a larger "
            "plan there; then deploy again."
        )
    if error.status is None or error.status >= 500 or error.status == 429:
        return (
            f"{what}: {said}, at {url}, also when asked again and again. Is QSTASH_URL right? Else deploy again when "
            "https://status.upstash.com says that QStash is well."
        )
    if error.status == 200:
        return (
            f"{what}: {said}. Deploy again; if it stays so, QStash does not take what is declared as it is: declare it in the "
            "way in which QStash shows it."
        )
    return f"{what}: {said}. Mend what it names, and deploy again."


def as_error(said: str) -> PublishFailed:
    """What the record keeps of a refusal, as the error that it was."""
    status = re.match(r"QStash answered (\d{3})", said)
    return PublishFailed(said, int(status[1]) if status else None)
