"""What is given without the token: the console's page, and nothing else."""

from __future__ import annotations

import httpx

from infra.local.qstash.api.console import FILES


def test_only_the_page_is_open(desk):
    """Its files and its token come without the token, by GET; nothing else does."""
    with httpx.Client(base_url=desk.server.url) as stranger:
        for path in ("/", "/console.json", *(f"/{name}" for name in FILES)):
            answer = stranger.get(path)
            assert answer.status_code == 200, path
            assert answer.headers["cache-control"] == "no-store"
            assert stranger.post(path).status_code == 401, path
        for path in ("/admin/overview", "/admin/messages", "/console/", "/console", "/console/../app.py",
                     "/console.html", "/CONSOLE.json", "/v2/queues"):  # fmt: skip
            assert stranger.get(path).status_code == 401, path
        policy = stranger.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_opening_the_page_uses_nothing_up(serve):
    """The burst limit counts what clients ask of the API, not the page's files."""
    desk = serve(burst_limit=5)
    with httpx.Client(base_url=desk.server.url) as stranger:
        for _ in range(20):
            assert stranger.get("/console.json").status_code == 200
