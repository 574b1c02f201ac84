"""`python -m infra.docs` renews the generated parts of the documentation; with `--check` it only says what is stale."""

from __future__ import annotations

import argparse
import sys

from infra.docs.pages import ROOT, PageBroken, rendered


def main() -> int:
    """The exit status: 1 when a page is broken, or with `--check` stale."""
    parser = argparse.ArgumentParser(prog="python -m infra.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when something is stale")
    check: bool = parser.parse_args().check
    try:
        pages = rendered(ROOT)
    except PageBroken as error:
        sys.stderr.write(f"{error}\n")
        return 1
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        name = path.relative_to(ROOT)
        if check:
            sys.stderr.write(f"{name} is stale; renew it with: make docs\n")
        else:
            path.write_text(pages[path])
            sys.stdout.write(f"wrote {name}\n")
    return 1 if check and stale else 0


sys.exit(main())
