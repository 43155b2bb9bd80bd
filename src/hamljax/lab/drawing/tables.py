"""Tables for people."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...errors import ConfigError

if TYPE_CHECKING:  # not imported: ``hamljax info`` does without JAX
    from ...tabular.checks import Report


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table whose cells are shown letter by letter.

    Args:
        columns: the headings.
        rows: as many cells each.
        title: above it; empty: none.
    """
    console = Console(width=None if Console().is_terminal else 110)
    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(Text(column), overflow="fold")  # not markup: a name may hold brackets; nor is one cut short
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def print_facts(facts: list[tuple[str, str]]) -> None:
    """A line per fact, the headings in a column of their own."""
    width = max(len(heading) for heading, _ in facts)
    for heading, text in facts:
        print(f"{heading:<{width}}  {text}")


def print_report(report: Report) -> None:
    """The table of a check, its notes, and what of its claims does not hold."""
    print_table(report.columns, [tuple(map(str, row)) for row in report.rows], f"{report.name}: {report.title}")
    print(*report.notes, sep="\n", end="\n" if report.notes else "")
    failed = [claim for claim in report.claims if not claim.holds]
    for claim in failed:
        print(f"NO   {claim.what} is {claim.value:.3g}, and must be {claim.relation} {claim.threshold:.3g}")
    print(f"{len(report.claims) - len(failed)} of {len(report.claims)} claims hold\n")


def print_everything() -> None:
    """Algorithms, drifts, neighbourhoods, environments, networks and presets."""
    from ...algorithms import ALGORITHMS, FAMILIES
    from ...algorithms.on_policy.registry import CRITICS, POLICIES
    from ...envs import ENVIRONMENTS, make
    from ...haml import DRIFTS, NEIGHBOURHOODS, ORDERS, SOLVERS
    from ..configuration.groups import choices

    for family in FAMILIES.values():
        members = {name: row for name, row in ALGORITHMS.items() if type(row) is family.row}
        columns = [f.name for f in dataclasses.fields(family.row) if f.name != "summary"]
        cells = {c.replace("_", " "): [str(getattr(row, c)) for row in members.values()] for c in columns}
        alike = {heading: values[0] for heading, values in cells.items() if len(set(values)) == 1}
        found = {heading: values for heading, values in cells.items() if heading not in alike}
        summaries = [getattr(row, "summary", "") for row in members.values()]
        rows = list(zip(members, *found.values(), summaries, strict=True))
        title = f"{family.name.capitalize()} algorithms"
        title += f" (all: {', '.join(map(' '.join, alike.items()))})" if alike else ""
        print_table(("algo", *found, ""), rows, title)
    rows = [(n, ", ".join(d.parameters.names), *_verdicts(n), d.summary) for n, d in DRIFTS.items()]
    headings = ("algo.drift", "parameters", "interior", "closed simplex", "")
    print_table(headings, rows, "Drifts, and whether they meet Definition 1 (hamljax certify drift=NAME)")
    rows = [
        (name, n.solver, ", ".join((n.all_parameters | SOLVERS[n.solver].parameters).names), n.summary)
        for name, n in NEIGHBOURHOODS.items()
    ]
    print_table(("algo.neighbourhood", "solver", "parameters", ""), rows, "Neighbourhoods")
    print_table(("algo.order", ""), [(name, o.summary) for name, o in ORDERS.items()], "Orders")
    for setting, table, title in (("algo.critic", CRITICS, "Critics"), ("algo.policy", POLICIES, "Policies")):
        rows = [(name, (inspect.getdoc(factory) or "").split("\n")[0]) for name, factory in table.items()]
        print_table((setting, ""), rows, f"{title} of on-policy algorithms")
    rows = []
    # Environments in host processes: what they are made by, and their names.
    elsewhere: dict[Callable[..., object], list[str]] = {}
    for name, entry in ENVIRONMENTS.items():
        if name.startswith("bridge/"):
            elsewhere.setdefault(entry.factory, []).append(name)
            continue
        if name == "game/matrix":  # its size is in the user's file
            rows.append((name, "?", "?", "?", entry.summary))
            continue
        team = make(name).team
        kind = "actions" if team.discrete else "dims"
        rows.append((name, str(team.num_agents), str(team.obs_size), f"{team.action_size} {kind}", entry.summary))
    print_table(("env", "agents", "obs", "action", ""), rows, "Environments")
    rows = [(names[0] + ", ..." * (len(names) > 1), ENVIRONMENTS[names[0]].summary) for names in elsewhere.values()]
    print_table(("env", ""), rows, "Environments in host processes (hamljax doctor says which can run here)")
    print("networks:", ", ".join(choices("network")))
    print("loggers:", ", ".join(choices("logger")))
    print("presets (experiment=NAME):", ", ".join(choices("experiment")))


def _verdicts(drift: str) -> tuple[str, str]:
    """Whether a drift meets Definition 1, in the interior and on the closed simplex: known, or after a short search."""
    from ...algorithms.on_policy.certification import certify
    from ...haml.certificate.shipped import VERDICTS

    if drift in VERDICTS:
        return VERDICTS[drift]
    try:
        found = certify(drift, quick=True)
    except ConfigError:  # it lacks a number, such as
        return "?", "?"
    return found.interior.verdict, found.closed.verdict


def who_shares(groups: list[list[int]], ratio: str = "folded") -> str:
    """Which agents have one policy: ``2: agents 0 1 2 share one, agents 3 4 share one``.

    Args:
        groups: the agents of every policy.
        ratio: how its ratios enter the objective (``algo.group_ratio``); said where it is joint.
    """
    shared = [f"agents {' '.join(map(str, group))} share one" for group in groups if len(group) > 1]
    alone = sum(len(group) == 1 for group in groups)
    said = f"{len(groups)}: " + ", ".join([*shared, *([f"{alone} agent(s) with one of their own"] if alone else [])])
    return said + (f", {ratio} ratio" if shared and ratio != "folded" else "")
