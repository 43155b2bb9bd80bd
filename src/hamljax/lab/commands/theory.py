"""``hamljax theory``: the paper's claims, checked on finite games. A table, a JSON file and a picture of each check."""

import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from ...algorithms.on_policy.certification import settings_of, settings_with
from ...algorithms.table import check_parameters, hyper_parameters
from ...errors import ConfigError, nearest, one_of
from ...haml import COORDINATIONS, DRIFTS, NEIGHBOURHOODS, ORDERS
from ...tabular.checks import CHECKS, Report, Request
from ..configuration.arguments import finite, whole
from ..configuration.plugins import load_plugin
from ..storage.files import write_json
from ..storage.paths import path_of, writing

TABLES: dict[str, Collection[str]] = {"coordination": COORDINATIONS, "order": ORDERS, "neighbourhood": NEIGHBOURHOODS}
COUNTS = {"games": 1, "seed": 0, "sweeps": 1, "states": 1}
OTHERS = ("actions", "deep", "drift", "out", "plugin")


class Asked(NamedTuple):
    """checks: by name, in the order in which they run. out: a folder for JSON and pictures, or None. deep: seeds of networks."""

    checks: tuple[str, ...]
    request: Request
    out: Path | None
    deep: int


def read(words: list[str]) -> Asked:
    """``[NAME...] [key=value...]`` of the command line.

    Raises: ConfigError for anything that is not known, with the nearest that is.
    """
    names = [word for word in words if "=" not in word]
    given = dict(word.split("=", 1) for word in words if "=" in word)
    if "plugin" in given:
        load_plugin(given.pop("plugin"))
    for name in names:
        one_of("check", name, CHECKS)
    out, deep = given.pop("out", None), whole(0)("deep", given.pop("deep", "4"))
    chosen = given.pop("drift", "all")
    drifts = list(DRIFTS) if chosen == "all" else chosen.split(",")
    for drift in drifts:
        one_of("drift", drift, (*DRIFTS, "all"))
    fields: dict[str, Any] = {}
    for key, table in TABLES.items():
        if key in given:
            fields[key] = one_of(key, given.pop(key), table)
    for key, least in COUNTS.items():
        if key in given:
            fields["num_states" if key == "states" else key] = whole(least)(key, given.pop(key))
    if "actions" in given:
        fields["actions"] = tuple(whole(1)("actions", text) for text in given.pop("actions").strip("[]()").split(","))
    values = _values(given, drifts, fields.get("neighbourhood", "everywhere"))
    request = Request(drifts=drifts, values=values, **fields)
    for drift in drifts:
        _solvable(request, drift)
    return Asked(tuple(names) or tuple(CHECKS), request, None if out is None else path_of(out), deep)


def _solvable(request: Request, drift: str) -> None:
    try:
        request.sweep(drift)
    except ConfigError as error:
        raise ConfigError(f"drift={drift}: {error}") from None


def _values(given: dict[str, str], drifts: list[str], neighbourhood: str) -> dict[str, Any]:
    """Hyper-parameters of all of them: the defaults of ``algo``, or what is given."""
    names = {drift: DRIFTS[drift].parameters.names for drift in drifts}
    limit = NEIGHBOURHOODS[neighbourhood].all_parameters
    asked = {name for own in (*names.values(), limit.names) for name in own}
    for name in given:
        if name not in asked:
            raise ConfigError(f"theory knows no '{name}'{nearest(name, [*asked, *TABLES, *COUNTS, *OTHERS])}")
    numbers = {name: finite()(name, text) for name, text in given.items()}
    values: dict[str, Any] = {}
    for drift, own in names.items():
        algo = settings_of(drift, DRIFTS[drift], {name: x for name, x in numbers.items() if name in own})
        values |= DRIFTS[drift].parameters.chosen(hyper_parameters(algo, "drift_params"))
    algo = settings_with({name: x for name, x in numbers.items() if name in limit.names}, "neighbourhood_params")
    check_parameters(f"neighbourhood '{neighbourhood}'", limit, algo, "neighbourhood_params")
    return values | limit.chosen(hyper_parameters(algo, "neighbourhood_params"))


def theory(asked: Asked, show: Callable[[Report], Any]) -> bool:
    """Run the checks; every report is shown, and written where a folder is named. Returns whether all claims hold."""
    from ..drawing.theory import draw
    from .deep import beside_prop1

    holds = True
    if asked.out:
        with writing(asked.out):
            asked.out.mkdir(parents=True, exist_ok=True)
    for name in asked.checks:
        progress = Progress(name)
        report = CHECKS[name](asked.request, progress)
        if name == "prop1" and asked.deep:
            report = beside_prop1(report, asked.deep, progress)
        progress.over()
        show(report)
        holds &= report.holds
        if asked.out:
            with writing(asked.out):
                write_json(asked.out / f"{name}.json", as_dict(report, asked.request))
                draw(report, asked.out / f"{name}.png")
    return holds


class Progress:
    """What is being computed: on a terminal one line that is written again and again, elsewhere a line every ten seconds."""

    def __init__(self, check: str):
        self.check, self.said = check, time.monotonic()

    def __call__(self, text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{self.check}: {text}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() > self.said + 10:
            print(f"{self.check}: {text}", file=sys.stderr, flush=True)
            self.said = time.monotonic()

    def over(self) -> None:
        """Leave no line behind."""
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def as_dict(report: Report, request: Request) -> dict[str, Any]:
    """What the JSON file holds."""
    return {
        "check": report.name,
        "title": report.title,
        "holds": report.holds,
        "request": {**request._asdict(), "drifts": list(request.drifts), "actions": list(request.actions)},
        "columns": list(report.columns),
        "rows": [list(row) for row in report.rows],
        "claims": [{**claim._asdict(), "holds": claim.holds} for claim in report.claims],
        "curves": [
            {"label": c.label, "x": [float(x) for x in c.x], "y": [float(y) for y in c.y]} for c in report.curves
        ],
        "notes": report.notes,
    }
