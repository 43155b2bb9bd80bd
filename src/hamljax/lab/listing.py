"""Tables for people."""

import dataclasses

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(columns, rows, title: str = "") -> None:
    console = Console(width=None if Console().is_terminal else 110)
    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(Text(column))  # not markup: a name may hold brackets
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def print_facts(facts: list[tuple[str, str]]) -> None:
    """A line per fact, the headings in a column of their own."""
    width = max(len(heading) for heading, _ in facts)
    for heading, text in facts:
        print(f"{heading:<{width}}  {text}")


def print_everything() -> None:
    """Algorithms, drifts, neighbourhoods, environments, networks and presets."""
    from ..algorithms import ALGORITHMS, Algorithm, OffPolicyAlgorithm
    from ..envs import ENVIRONMENTS, make
    from ..haml import DRIFTS, NEIGHBOURHOODS, ORDERS, SOLVERS
    from .configuration import choices

    for kind, title in ((Algorithm, "On-policy algorithms"), (OffPolicyAlgorithm, "Off-policy algorithms")):
        columns = [f.name for f in dataclasses.fields(kind) if f.name != "summary"]
        rows = [
            (n, *(str(getattr(r, c)) for c in columns), r.summary) for n, r in ALGORITHMS.items() if isinstance(r, kind)
        ]
        print_table(("algo", *(c.replace("_", " ") for c in columns), ""), rows, title)
    rows = [(n, ", ".join(d.parameters.names), d.summary) for n, d in DRIFTS.items()]
    print_table(("algo.drift", "parameters", ""), rows, "Drifts")
    rows = [
        (name, n.solver, ", ".join((n.parameters | SOLVERS[n.solver].parameters).names), n.summary)
        for name, n in NEIGHBOURHOODS.items()
    ]
    print_table(("algo.neighbourhood", "solver", "parameters", ""), rows, "Neighbourhoods")
    print_table(("algo.order", ""), [(name, o.summary) for name, o in ORDERS.items()], "Orders")
    rows = []
    elsewhere = {}  # environments in host processes: what they are made by, and their names
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
