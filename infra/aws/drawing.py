"""The picture of what is deployed, drawn from the templates: `python -m infra.aws.drawing` writes docs/images/deployed.svg.

It says what there is and who reaches what, by names; nothing in it depends on a package or on a hash, so it changes only
when what is deployed does.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs/images/deployed.svg"
WIDTH = 960

Template = Mapping[str, Any]

_STYLE = """\
    .ground { fill: #ffffff; stroke: #d0d7de; }
    .frame { fill: none; stroke: #8c959f; stroke-dasharray: 6 5; }
    .box { fill: #f6f8fa; stroke: #8c959f; }
    .store { fill: #ddf4ff; stroke: #0969da; }
    .name { font: 600 16px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
    .note { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #59636e; }
    .code { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1f2328; }
    .way { stroke: #59636e; stroke-width: 1.6; fill: none; }
    .tip { fill: #59636e; }
    @media (prefers-color-scheme: dark) {
      .ground { fill: #0d1117; stroke: #30363d; }
      .frame { stroke: #6e7681; }
      .box { fill: #161b22; stroke: #6e7681; }
      .store { fill: #0c2d4d; stroke: #4493f8; }
      .name, .code { fill: #f0f6fc; }
      .note { fill: #9198a1; }
      .way { stroke: #9198a1; }
      .tip { fill: #9198a1; }
    }"""


@dataclass(frozen=True)
class Deployed:
    """What the templates of a stage say, by names."""

    stage: str
    jobs: tuple[str, ...]
    web: tuple[str, ...]
    schedules: tuple[tuple[str, str], ...]
    """Each with its times."""
    secrets: tuple[str, ...]
    folders: tuple[tuple[str, int], ...]
    """Of the bucket, with the days after which files end."""
    alarms: int
    log_days: int

    @classmethod
    def of(cls, stacks: Mapping[str, Template]) -> Deployed:
        """Out of the templates, by the stacks' names."""
        name, app = next((name, one) for name, one in stacks.items() if _of(one, "AWS::Lambda::Url"))
        functions = [one for one in _of(app, "AWS::Lambda::Function") if one["Handler"].startswith("functions.")]
        names = {id(one): one["FunctionName"].removeprefix(f"{name}-") for one in functions}

        jobs = {names[id(one)] for one in functions if one["Description"].startswith("Runs the job type")}
        (bucket,) = _of(app, "AWS::S3::Bucket")
        return cls(
            stage=name,
            jobs=tuple(sorted(jobs)),
            web=tuple(sorted(set(names.values()) - jobs)),
            schedules=tuple(
                sorted((one["ScheduleId"].partition(".")[2], one["Cron"]) for one in _of(app, "Custom::QStashSchedule"))
            ),
            secrets=tuple(
                one["Name"].rpartition("/")[2] for one in _of(stacks[f"{name}-secrets"], "AWS::SecretsManager::Secret")
            ),
            folders=tuple(
                (one["Prefix"], one["ExpirationInDays"])
                for one in bucket["LifecycleConfiguration"]["Rules"]
                if "Prefix" in one
            ),
            alarms=len(_of(app, "AWS::CloudWatch::Alarm")),
            log_days=max(one["RetentionInDays"] for one in _of(app, "AWS::Logs::LogGroup")),
        )


def drawn(what: Deployed) -> str:
    """The picture, as SVG."""
    outside = [
        Box(30, 30, 200, "App services", [_note("enqueue, with the layer"), _note("or the wheel, and a policy")]),
        Box(264, 30, 308, "QStash", [_pair("code", times, id_, 104) for id_, times in what.schedules]),
        Box(606, 30, 324, "Providers and people", [_note("send webhooks; open the links in mails")]),
    ]
    app, qstash, people = outside
    top = max(one.bottom for one in outside) + 92
    jobs = Box(
        88,
        top,
        400,
        "One function for each job type",
        [_note("its address, role, log group and alarms are its own"), *_columns(what.jobs, 190)],
    )
    web = Box(
        88,
        jobs.bottom + 20,
        400,
        "Functions that serve no job type",
        [_pair("code", name, _CALLERS.get(name, ""), 190) for name in what.web],
    )
    steps = Box(
        88,
        web.bottom + 20,
        400,
        "Steps of a deployment",
        [
            _note("migrations before and after the functions change,"),
            _note("schedules, and a probe that goes the whole way"),
        ],
    )
    inside = [jobs, web, steps]
    beside: list[Box] = []
    for title, rows in (
        ("Secrets Manager", _columns(what.secrets, 130)),
        ("Parameter Store", [_note("where each function answers"), _note("the layer, and settings for app services")]),
        ("S3 bucket", [_pair("code", name, f"for {days} days", 130) for name, days in what.folders]),
        (
            "CloudWatch and SNS",
            [
                _note(f"{what.alarms} alarms, a dashboard, logs for {what.log_days} days"),
                _note("one topic for alarms and failed jobs"),
            ],
        ),
    ):
        beside.append(Box(604, beside[-1].bottom + 20 if beside else top, 310, title, rows))
    end = max(steps.bottom, beside[-1].bottom)
    postgres = Box(30, end + 76, 900, "Postgres", [_note("what was asked for, and what became of it")], "store")
    parts = [
        *(one.drawn() for one in (*outside, *inside, *beside, postgres)),
        f'<rect class="frame" x="60" y="{top - 52}" width="870" height="{end - top + 72}" rx="10"/>',
        f'<rect class="frame" x="76" y="{top - 12}" width="424" height="{end - top + 24}" rx="8"/>',
        _text(76, top - 28, "name", f"AWS: {what.stage}"),
        _way(f"M{app.right} 76H{qstash.x}"),
        _way(f"M400 {qstash.bottom}V{jobs.y}"),
        _text(410, qstash.bottom + 24, "note", "signed deliveries"),
        _way(f"M622 {people.bottom}V{top - 72}H552V{web.middle}H{web.right}"),
        *(_way(f"M500 {one.middle}H{one.x}") for one in beside),
        _way(f"M45 {app.bottom}V{postgres.y}"),
        _way(f"M288 {end + 12}V{postgres.y}"),
        _text(298, end + 52, "note", "two round trips for each job"),
    ]
    height = postgres.bottom + 30
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title said">',
        '  <title id="title">What a deployment consists of</title>',
        f'  <desc id="said">{escape(_SAID)}</desc>',
        "  <style>",
        _STYLE,
        "  </style>",
        "  <defs>",
        '    <marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">',
        '      <path class="tip" d="M0 0 10 5 0 10Z"/>',
        "    </marker>",
        "  </defs>",
        f'  <rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10"/>',
        *(f"  {one}" for one in parts),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


_SAID = (
    "App services enqueue in Postgres and at QStash. QStash delivers to the address of each job type's function, by schedules "
    "too. The functions read their secrets from Secrets Manager and each other's addresses from Parameter Store, record in "
    "Postgres, keep files in S3, and report to CloudWatch, whose alarms tell an SNS topic."
)

_CALLERS = {"failure-callback": "for QStash", "webhook-ingress": "for providers", "download": "for people"}

Row = Sequence[tuple[str, int, str]]
"""Pieces of one line: how they are set, how far from the left, and what they say."""


@dataclass(frozen=True)
class Box:
    """A box with a title and lines below it, as high as these need."""

    x: int
    y: int
    width: int
    title: str
    rows: Sequence[Row]
    kind: str = "box"

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def bottom(self) -> int:
        return self.y + 46 + 20 * len(self.rows)

    @property
    def middle(self) -> int:
        return (self.y + self.bottom) // 2

    def drawn(self) -> str:
        """As SVG."""
        size = f'width="{self.width}" height="{self.bottom - self.y}"'
        lines = [f'<rect class="{self.kind}" x="{self.x}" y="{self.y}" {size} rx="8"/>']
        lines.append(_text(self.x + 16, self.y + 28, "name", self.title))
        for number, row in enumerate(self.rows):
            lines += [_text(self.x + 16 + left, self.y + 52 + 20 * number, style, said) for style, left, said in row]
        return "\n  ".join(lines)


def _note(said: str) -> Row:
    return [("note", 0, said)]


def _pair(style: str, first: str, second: str, apart: int) -> Row:
    return [(style, 0, first), ("note", apart, second)]


def _columns(names: Sequence[str], apart: int) -> list[Row]:
    """Two columns, by rows."""
    half = -(-len(names) // 2)
    return [
        [("code", apart * column, names[row + half * column]) for column in (0, 1) if row + half * column < len(names)]
        for row in range(half)
    ]


def _text(x: int, y: int, style: str, said: str) -> str:
    return f'<text class="{style}" x="{x}" y="{y}">{escape(said)}</text>'


def _way(path: str) -> str:
    return f'<path class="way" d="{path}" marker-end="url(#tip)"/>'


def _of(template: Template, type_: str) -> list[Any]:
    return [one.get("Properties", {}) for one in template["Resources"].values() if one["Type"] == type_]


def stacks_of(root: Path) -> dict[str, Template]:
    """The templates of `prod` with its defaults, for packages that say nothing: what is in them is not drawn."""
    from infra.aws import node

    node.prepare()
    from infra.aws.app import add_stacks, new_app
    from infra.aws.context import Context
    from infra.aws.functions import folders_of
    from infra.build.artifacts import Artifacts

    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.zip"
        zipfile.ZipFile(empty, "w").close()
        app = new_app(Path(folder) / "assembly")
        built = Artifacts("arm64", empty, dict.fromkeys(folders_of(root), empty), empty)
        add_stacks(app, Context.read({"stage": "prod"}), built, root=root)
        return {one.stack_name: one.template for one in app.synth().stacks}


def main() -> int:
    """Draw it anew; the exit status."""
    PICTURE.write_text(drawn(Deployed.of(stacks_of(ROOT))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
