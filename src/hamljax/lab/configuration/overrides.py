"""Hydra's grammar of ``key=value``, for people: what it refuses without quotes, and could mean one thing only, gets them."""

import math
import re
from collections.abc import Collection, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from ...errors import ConfigError, one_line

STRUCTURE = "[](){},"  # of lists, dictionaries, functions and sweeps
QUOTED = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\""""
BETWEEN_COMMAS = re.compile(rf"(?:{QUOTED}|\([^()]*\)|\[[^][]*\]|\{{[^{{}}]*\}}|[^,])+")  # in no brackets or quotes
REFUSED = re.compile(r"[^\w/\\+.$%*@?|: -]|[^\x00-\x7f]")  # letters that Hydra has no place for outside of quotes
NO_PLAIN_TEXT = re.compile(
    r"(?i)^(?![a-z_/][\w/.-]*$)|^(true|false|null|nan|inf)$|[^\x00-\x7f]"
)  # or that are no text there
LARGEST_SWEEP = 10_000  # jobs


def is_hydras(word: str) -> bool:
    """Whether a word is about Hydra itself: ``hydra/launcher=joblib``, ``+hydra.callbacks...``."""
    return word.lstrip("+~").startswith(("hydra.", "hydra/"))


def is_for_hydra(words: list[str]) -> bool:
    """Whether a command line has anything in it that only Hydra knows."""
    flags = {word for word in words if word.startswith("-")} - {"-m", "--multirun"}
    return bool(flags) or any(map(is_hydras, words))


def quote(text: str) -> str:
    """``text`` as Hydra's grammar writes a text that is nothing else."""
    return "'" + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text) + "'"


def parse(words: list[str], texts: Collection[str] = ()) -> list[Override]:
    """``key=value`` words as Hydra reads them.

    Args:
        words: as typed.
        texts: the keys whose values are texts, whatever they look like.

    Raises:
        ConfigError: one cannot be read; with Hydra's complaint on one line.
    """
    return [_read(word[1:] if word.startswith("+experiment=") else word, texts) for word in words]


def _read(word: str, texts: Collection[str]) -> Override:
    key, equals, value = word.partition("=")
    if not equals and not word.startswith("~"):
        raise ConfigError(f"'{word}' is not an override; write key=value, such as algo=happo")
    read = _readings_of_a_text if key.lstrip("+") in texts else _readings
    readings: Sequence[str | None] = read(value) if equals else [None]
    complaints = []
    for reading in readings:
        try:
            found = OverridesParser.create().parse_overrides([word if reading is None else f"{key}={reading}"])[0]
        except HydraException as error:
            complaints.append(one_line(error).partition(" See http")[0])
            continue
        if key not in texts or found.is_sweep_override() or found.value() is None or isinstance(found.value(), str):
            return found
    raise ConfigError(
        f"cannot read '{word}': {complaints[0]}; what is to be taken letter by letter stands in quotes: \"{key}='...'\""
    )


def _readings(value: str) -> list[str]:
    """As typed; or with quotes around what Hydra has no letters for."""
    return [value, _in_quotes(value, REFUSED)]


def _readings_of_a_text(value: str) -> list[str]:
    """A number, a list or a bracket is a text too where a text is wanted; several of them stand between commas."""
    if value in ("", "null"):
        return [value]
    if set(value) & set("'\"$\\" + STRUCTURE.replace(",", "")):
        parts = BETWEEN_COMMAS.findall(value)
        return [value, ",".join(part if re.fullmatch(QUOTED, part) else quote(part) for part in parts)]
    return [_in_quotes(value, NO_PLAIN_TEXT)]


def _in_quotes(value: str, needing: re.Pattern[str]) -> str:
    """``value`` with quotes around every part between brackets and commas that is ``needing`` them, and has none."""

    def part(found: re.Match[str]) -> str:
        text = (found[2] or "").strip()
        return quote(text) if text and needing.search(text) else found[0]

    return re.sub(rf"({QUOTED})|([^{re.escape(STRUCTURE)}]+)", part, value)


def values_of(override: Override, choices: Collection[str]) -> list[str]:
    """The values of one word of a sweep, as words.

    Args:
        override: the word, as Hydra reads it.
        choices: what there is, for a group.

    Raises:
        ConfigError: it stands for no values that can be listed, or for too many.
    """
    if not override.is_sweep_override():
        return [as_typed(override)]
    typed, key, sweep = as_typed(override), override.get_key_element(), override.value()
    if isinstance(sweep, Glob):
        there = ",".join(name for name in choices if sweep.filter([name]))
        instead = f"such as {key}={there}" if 0 < len(there) < 300 else "with commas between them"
        raise ConfigError(f"'{typed}': glob() is not known here; write the values, {instead}")
    if isinstance(sweep, IntervalSweep):
        low, high = f"{sweep.start:.6g}", f"{sweep.end:.6g}"
        raise ConfigError(
            f"'{typed}': interval() is not known here; write the values, such as {key}={low},{high}, or steps between "
            f"them, {key}=range({low},{high},STEP)"
        )
    assert isinstance(sweep, RangeSweep | ChoiceSweep)
    start, step, count = _range(typed, sweep) if isinstance(sweep, RangeSweep) else (0.0, 0.0, len(sweep.list))
    if not 1 <= count <= LARGEST_SWEEP:
        raise ConfigError(f"'{typed}' stands for {count:,} values; 1 to {LARGEST_SWEEP:,} can be trained")
    if isinstance(sweep, RangeSweep) and not isinstance(sweep.range(), range):
        return [f"{key}={start + i * step:.10g}" for i in range(count)]
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def as_typed(override: Override) -> str:
    """The word that ``override`` was read from."""
    assert override.input_line is not None
    return override.input_line


def _range(typed: str, sweep: RangeSweep) -> tuple[float, float, int]:
    """Where a range starts, its step, and how many values it has; ``stop`` is none of them, however its steps are rounded."""
    if not sweep.step:
        raise ConfigError(f"'{typed}': a range needs a step that is not 0")
    assert sweep.start is not None and sweep.stop is not None
    return float(sweep.start), float(sweep.step), max(0, math.ceil((sweep.stop - sweep.start) / sweep.step - 1e-9))
