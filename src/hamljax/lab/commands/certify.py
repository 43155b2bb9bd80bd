"""``hamljax certify``: whether a drift meets Definition 1, as a table, a picture and JSON."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ...algorithms.on_policy.certification import certify_with, settings_of
from ...algorithms.on_policy.settings import Algo
from ...algorithms.table import resolve
from ...coercion import typed
from ...errors import ConfigError, Stopped, lookup, nearest, one_of
from ...haml import DRIFTS
from ...haml.certificate import Certificate
from ...haml.drifts import SHIPPED
from ...settings import PerAgent
from ..configuration.arguments import boolean, file, finite, whole
from ..configuration.jobs import Job, parse
from ..configuration.plugins import load_plugin
from ..drawing.tables import print_facts, print_table
from ..storage.files import write_json
from ..storage.paths import as_typed, output_file, path_of, writing

ALL = "all"


class Request(NamedTuple):
    """What to certify. ``parameters``: of the drift, by name. ``out``: JSON, a picture of all, or a folder that is there."""

    drift: str
    parameters: dict[str, Any]
    out: Path | None = None
    budget: float = 20.0
    strict: bool = False
    seed: int = 0


def _place(key: str, text: str) -> Path:
    """A folder that is there, or the name of a JSON file or of a picture."""
    return path_of(text) if path_of(text).is_dir() else output_file(key, text, (".json", ".png"))


READERS: dict[str, Callable[[str, str], Any]] = {
    "plugin": file,
    "out": _place,
    "budget": finite("a number of seconds", 0.0),
    "strict": boolean,
    "seed": whole(0),
}


def read(arguments: list[str]) -> Request:
    """``drift=NAME key=value...`` -> what to certify, once the plugin is loaded. Raises ConfigError for anything else."""
    said = {}
    for word in arguments:
        key, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(
                f"certify takes key=value, not '{word}'; such as: hamljax certify drift=clip clip_eps=0.1"
            )
        said[key.removeprefix("+").removeprefix("algo.").removeprefix("drift_params.")] = text
    values = {key: reader(key, said.pop(key)) for key, reader in READERS.items() if key in said}
    if plugin := values.pop("plugin", ""):
        load_plugin(plugin)
    if not (name := said.pop("drift", "")):
        raise ConfigError("certify needs a drift, such as: hamljax certify drift=clip; drift=all is all of them")
    one_of("drift", name, (*DRIFTS, ALL))
    _check_out(name, values.get("out"))
    known = DRIFTS[name].parameters.names if name != ALL else ()
    for key in said:
        if key not in known:
            raise ConfigError(f"certify drift={name} knows no '{key}'{nearest(key, (*known, *READERS, 'drift'))}")
    return Request(name, {key: _number(key, text) for key, text in said.items()}, **values)


def _check_out(name: str, out: Path | None) -> None:
    """Raises ConfigError for a file that does not go with one drift, or with all of them."""
    if out is None or out.is_dir():
        return
    if name == ALL and out.suffix != ".png":
        raise ConfigError(f"out={out}: drift=all writes a folder that is there, or one picture, {out.stem}.png")
    if name != ALL and out.suffix != ".json":
        raise ConfigError(f"out={out}: a drift is written as {out.stem}.json, with {out.name} beside it")


def _number(key: str, text: str) -> float | tuple[float, ...]:
    """One number, or one for each agent, as everywhere on the command line."""
    (override,) = parse([f"{key}={text}"])
    return typed(key, override.value(), PerAgent)


def run(request: Request) -> None:
    """Print the certificate, or the table of all, and write what is asked for. Raises Stopped where a drift is refuted."""
    if request.drift == ALL:
        found = _table(request)
    else:
        found = [_certificate(request.drift, request)]
        _show(found[0])
    _write(found, request)
    refuted = [one.drift for one in found if _is_refuted(one, request.strict)]
    if refuted:
        raise Stopped(f"refuted: {', '.join(refuted)}", 1)


def _table(request: Request) -> list[Certificate]:
    """Certificates of all drifts, printed; one that lacks a number has a line that says so."""
    found, rows = [], []
    for name in DRIFTS:
        try:
            found.append(_certificate(name, request))
            rows.append(_row(found[-1]))
        except ConfigError as error:
            rows.append((name, "?", "?", str(error), "-"))
    print_table(("drift", "interior", "closed simplex", "why", "seconds"), rows)
    return found


def _certificate(name: str, request: Request) -> Certificate:
    drift = lookup("drift", name, DRIFTS)
    return certify_with(name, drift, settings_of(name, drift, request.parameters), request.budget, request.seed)


def _is_refuted(one: Certificate, strict: bool) -> bool:
    return "refuted" in (one.interior.verdict, one.closed.verdict if strict else "")


def _row(one: Certificate) -> tuple[str, ...]:
    reason = one.interior.reason if one.interior.verdict == "refuted" else one.closed.reason
    return one.drift, one.interior.verdict, one.closed.verdict, reason, f"{one.seconds:.1f}"


def _write(found: list[Certificate], request: Request) -> None:
    """What ``out`` asks for: JSON and a picture of each, or one picture of all."""
    from ..drawing.certificates import draw, draw_all

    out = request.out
    if out is None or not found:
        return
    if out.suffix == ".png" and not out.is_dir():
        with writing(out):
            draw_all({one.drift: one.curve for one in found}, {one.drift: _new_mass(one) for one in found}, out)
        print(f"written: {out}")
        return
    for one in found:
        place = out / f"{one.drift}.json" if out.is_dir() else out
        picture = place.with_suffix(".png")
        with writing(place):
            write_json(place, one.as_data())
            draw(one.drift, _verdicts(one), one.curve, picture)
        print(f"written: {place}, {picture}")


def _new_mass(one: Certificate) -> str:
    """What an action that lost its probability meets, for both signs of M A."""
    if one.boundary is None:
        return ""
    kinds = dict.fromkeys(one.boundary.kinds[gain] for gain in (1.0, -1.0))
    return f"new mass: {', '.join(kinds)}"


def _verdicts(one: Certificate) -> str:
    return f"{one.interior.verdict} in the interior, {one.closed.verdict} on the closed simplex"


def _show(one: Certificate) -> None:
    print_facts(facts(one))
    where, verdict = ("in the interior", one.interior)
    if verdict.counter_example is None:
        where, verdict = ("on the closed simplex", one.closed)
    for title, game in _games(verdict.counter_example or {}):
        print_table(GAME, list(_moves(game)), f"Counter-example {where}: D = {_short(game['drift'])}{title}")


def facts(one: Certificate) -> list[tuple[str, str]]:
    """(heading, text) of all that a certificate says in words."""
    values = ", ".join(f"{name}={value}" for name, value in one.parameters.items())
    slope = one.slope if isinstance(one.slope, list) else [one.slope]
    found = [
        ("drift", f"{one.drift}{f' with {values}' if values else ''}"),
        ("interior", f"{one.interior.verdict}: {one.interior.reason}"),
        ("closed simplex", f"{one.closed.verdict}: {one.closed.reason}"),
        ("asks for", ", ".join(one.asks) or "the ratio and M A alone"),
        ("slope at ratio 1", ", ".join(sorted({f"{c:.6g}" for c in slope}))),
    ]
    if one.proof is not None:
        box = ", ".join(f"{name} {_range(x)}" for name, x in one.box.items())
        rules = ", ".join(f"{rule} {count}" for rule, count in one.proof.rules.items())
        left = f"; {one.proof.undecided:,} open" if one.proof.undecided else ""
        left += f", such as {one.proof.shown[0]}" if one.proof.shown else ""
        found += [
            ("box", box),
            ("proof", f"{one.proof.boxes:,} boxes looked at: {rules}{left}; {one.proof.seconds:.1f} s"),
        ]
    if one.boundary is not None:
        kinds = [
            f"{kind} ({_short(one.boundary.rates[gain])}) at M A = {gain:g}"
            for gain, kind in one.boundary.kinds.items()
        ]
        zero = ", ".join(f"{_short(cost)} at M A = {gain:g}" for gain, cost in one.boundary.at_zero.items())
        found += [("new mass", "; ".join(kinds)), ("cost at ratio 0", zero)]
    if one.practice is not None:
        scale = "none" if one.practice.degree is None else f"{one.practice.degree:g}"
        convex = "no counter-example" if one.practice.convex else "no"
        finite = f"{100 * one.practice.finite:.1f} % of gradients in float32"
        found += [("finite", finite), ("degree in M A", scale), ("convex in the ratio", convex)]
    found += [("note", note) for note in one.notes]
    return [*found, ("evaluations", f"{one.evaluations:,} in {one.seconds:.1f} s, seed {one.seed}")]


def _range(x: Any) -> str:
    return f"{x:g}" if isinstance(x, float | int) else f"{x[0]:g} to {x[1]:g}"


def _short(x: float) -> str:
    return f"{x:.6g}"


WIDEST = 12  # letters of a number in one line of the table
GAME = ("pi(a)", "x(a)", "ratio", "w(b)", "M(b)", "A(a, b)", "cost", "w pi cost")


def _games(example: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """The games of a counter-example, each with what its title says beside D."""
    if "old" in example:
        return [("", example)]
    steps = zip(example.get("t", ()), example.get("rates", ()), strict=True)
    titles = [f", and D / t = {_short(rate)} for t = {_short(step)}" for step, rate in steps]
    games = example.get("games", [])
    whole = list(zip(titles or [""] * len(games), games, strict=True))
    return [whole[0], whole[-1]] if whole else []


def _moves(game: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    """A row for each deed of those before, and each action."""
    for weight, m, advantages, costs in zip(game["weight"], game["m"], game["advantage"], game["cost"], strict=True):
        for old, new, advantage, cost in zip(game["old"], game["new"], advantages, costs, strict=True):
            numbers = (old, new, new / old, weight, m, advantage, cost, weight * old * cost)
            yield tuple(long if len(long := f"{x:.10g}") <= WIDEST else _short(x) for x in numbers)


def look_before(jobs: Iterable[Job]) -> None:
    """Say in one line where a drift of a user's own, with the numbers that it is to be trained with, is refuted."""
    seen = set()
    for job in jobs:
        algo = job.config.algo
        if not job.run.certify or not hasattr(algo, "drift_params"):
            continue
        name = getattr(resolve(algo), "drift", None)
        if name is None or name in SHIPPED or (name, repr(algo)) in seen:
            continue
        seen.add((name, repr(algo)))
        say_if_refuted(name, algo, job.run.plugin or "FILE")


def say_if_refuted(name: str, algo: Algo, plugin: str = "FILE") -> None:
    """A short search, and one line on the standard error where it finds something.

    Args:
        name: of the drift. algo: whose numbers it has. plugin: the file that registers it.
    """
    try:
        one = certify_with(name, DRIFTS[name], algo, quick=True)
    except ConfigError as error:
        print(f"note: {error}; it could not be certified (certify=false says nothing)", file=sys.stderr)
        return
    if one.interior.verdict == "refuted":
        own = "".join(f" {key}={value}" for key, value in algo.drift_params.items())
        hint = f"hamljax certify plugin={as_typed(Path(plugin))} drift={name}{own} shows it, certify=false says nothing"
        print(
            f"note: drift '{name}' is no drift in the sense of Definition 1: {one.interior.reason}; {hint}",
            file=sys.stderr,
        )
