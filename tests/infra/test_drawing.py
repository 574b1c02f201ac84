"""The picture of what is deployed is that of the templates."""

from __future__ import annotations

import copy
import re
from xml.etree import ElementTree

from infra.aws.drawing import PICTURE, Deployed, drawn
from infra.aws.functions import folders_of
from infra.stage import SECRETS
from qstash_jobs.schedules import SCHEDULES
from tests.conftest import ROOT
from tests.infra.conftest import Stacks


def words(picture: str) -> set[str]:
    """All that is written in a picture."""
    root = ElementTree.fromstring(picture)
    return {"".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")}


def test_the_picture_in_the_docs_is_current(stacks: Stacks) -> None:
    """It is drawn anew with `make docs`."""
    assert PICTURE.read_text() == drawn(Deployed.of(stacks))


def test_the_picture_names_what_there_is(stacks: Stacks) -> None:
    """Each function, secret and schedule, and each folder of the bucket."""
    said = words(drawn(Deployed.of(stacks)))
    assert {folder.replace("_", "-") for folder in folders_of(ROOT)} <= said
    assert SECRETS.keys() <= said
    assert {one.id for one in SCHEDULES} <= said
    assert {"exports/", "reports/", "tmp/", "AWS: jobs-prod"} <= said


def test_the_picture_follows_the_templates(stacks: Stacks) -> None:
    """A function that goes is no longer drawn."""
    fewer = copy.deepcopy(stacks)
    resources = fewer["jobs-prod"]["Resources"]
    for id_ in [one for one in resources if one.startswith("FunctionsDownload")]:
        del resources[id_]
    assert "download" in words(drawn(Deployed.of(stacks)))
    assert "download" not in words(drawn(Deployed.of(fewer)))


def test_nothing_in_the_picture_depends_on_a_package(stacks: Stacks) -> None:
    """No hash and no logical id, so it changes only when what is deployed does."""
    picture = drawn(Deployed.of(stacks))
    assert re.findall(r"[0-9a-f]{16}|[0-9A-F]{8}\b", picture) == []
    assert len(ElementTree.fromstring(picture).findall("{http://www.w3.org/2000/svg}rect")) < 16
