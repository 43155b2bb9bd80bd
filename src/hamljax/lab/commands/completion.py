"""Completion in a shell: ``eval "$(hamljax train -sc install=bash)"``, after which the shell asks ``hamljax -sc query=bash``."""

import os
from collections.abc import Iterable

from ...errors import ConfigError, one_of

FLAGS = ("-sc", "--shell-completion")
SHELLS = ("bash", "zsh")  # for which Hydra has one script
HYDRAS = ("--multirun", "-m", "--cfg", "--info", "--package", "--resolve", "--config-dir", "--hydra-help")


def completion(words: list[str], commands: Iterable[str]) -> None:
    """Print what a shell is to run, or what the line that it holds could go on with.

    Args:
        words: as typed, with one of FLAGS among them. commands: of ``hamljax``.

    Raises:
        ConfigError: neither is asked for, or for a shell that is not known.
    """
    what, _, shell = next((word for word in words if "=" in word), "").partition("=")
    one_of("completion", what, ("install", "uninstall", "query"))
    one_of("shell", shell, SHELLS)
    if what == "query":
        line = os.environ.get("COMP_LINE", "")
        print(" ".join(complete(line[: int(os.environ.get("COMP_POINT") or len(line))], commands)))
        return
    from hydra._internal.core_plugins.bash_completion import BashCompletion

    script = BashCompletion(None)  # type: ignore[arg-type]  # which it needs to answer, and not to install
    script.install() if what == "install" else script.uninstall()


def complete(line: str, commands: Iterable[str]) -> list[str]:
    """The words that the last one of a line may become.

    Args:
        line: up to the cursor. commands: of ``hamljax``.
    """
    words = line.split()[1:]
    current = "" if line[-1:].isspace() or not words else words.pop()
    if not words:
        return [name for name in commands if name.startswith(current)]
    if words[0] != "train":
        return []
    if current.startswith("-"):
        return [flag for flag in HYDRAS if flag.startswith(current)]
    if current.startswith("hydra"):
        return _hydras(current)
    return _ours(current, words[1:])


def _ours(current: str, words: list[str]) -> list[str]:
    """Settings, and the values of those that have names."""
    from ..configuration.groups import GROUPS, choices
    from ..configuration.jobs import settings_of
    from ..configuration.plugins import load_plugin

    given = dict(word.split("=", 1) for word in words if "=" in word)
    if given.get("plugin"):
        load_plugin(given["plugin"])
    key, equals, value = current.partition("=")
    *before, last = value.split(",")  # of a sweep
    if equals and key in GROUPS:
        begun = "".join(f"{name}," for name in before)
        return [f"{key}={begun}{name}" for name in choices(key) if name.startswith(last) and name not in before]
    if equals:
        return []
    try:
        algo, env = (given.get(key, default).split(",")[0] for key, default in (("algo", "happo"), ("env", "smax/3m")))
        keys = settings_of(algo, env)
    except ConfigError:  # one of these is no name
        keys = set()
    found = sorted({*(f"{name}=" for name in (*GROUPS, *keys)), "hydra/launcher=", "hydra/sweeper="})
    return [word for word in found if word.startswith(current)]


def _hydras(current: str) -> list[str]:
    """What Hydra says itself."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.core_plugins.bash_completion import BashCompletion
    from hydra._internal.utils import create_automatic_config_search_path

    from ..configuration.groups import conf_dir, register_groups

    register_groups()
    search = create_automatic_config_search_path(None, None, str(conf_dir()))
    return BashCompletion(ConfigLoaderImpl(search))._query(config_name="config", line=current)
