"""The arrows between rooms, and what the README shows."""

import ast
import json
import re
from pathlib import Path

import pytest

from hamljax.lab.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "hamljax"
MAY_IMPORT = {
    "errors": set(),
    "haml": set(),
    "envs": {"errors"},
    "algorithms": {"errors", "haml"},
    "learning": {"errors", "haml", "algorithms", "envs"},
    "bridge": {"errors", "envs"},
    "lab": {"errors", "haml", "algorithms", "envs", "learning", "bridge"},
}
LAB_ONLY = {"hydra", "omegaconf", "rich", "matplotlib", "pandas", "wandb", "yaml", "tensorboardX", "orbax"}


def imports(file: Path):
    """(rooms of hamljax, other top-level packages) that a module imports, anywhere in it."""
    rooms, packages = set(), set()
    here = file.relative_to(PACKAGE).parts
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            packages.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level == len(here):
            rooms |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return rooms, packages


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows_point_down(room):
    files = list((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]
    for file in files:
        rooms, packages = imports(file)
        assert rooms - {room} <= MAY_IMPORT[room], file
        if "worker" not in file.parts:  # another program, for which hamljax is a library
            assert "hamljax" not in packages, file
        if room != "lab":
            assert not packages & LAB_ONLY, file
        if room == "haml":
            assert packages <= {"jax", "optax", "inspect", "collections", "typing"}, file


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)


@pytest.mark.parametrize("bridge", [True, False])
def test_every_command_of_the_readme_runs(bridge, tmp_path, monkeypatch):
    """The commands as shown; only sizes that follow them are smaller."""
    small = ["num_envs=4", "num_steps=4", "total_timesteps=32", "num_eval_episodes=2", "num_evals=2"]
    _, use, *files = sorted(blocks("python"), key=lambda code: ("make_train" not in code, "hamljax.load" not in code))
    for name, code in zip(("square.py", "near.py", "my_game.py"), files, strict=True):
        (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("hamljax")]
    lines += re.findall(r"`(hamljax train plugin[^`]*)`", (ROOT / "README.md").read_text())
    assert {line.split()[1] for line in lines} == set(COMMANDS)
    for line in lines:
        if bridge != ("bridge/" in line or "doctor" in line):
            continue
        words = line.split()[1:]
        extra = {"train": small, "bench": ["--quick"], "evaluate": ["num_episodes=4"]}.get(words[0], [])
        words = [w for w in words if w.split("=")[0] not in {s.split("=")[0] for s in extra}]
        assert main(words + extra) == 0, line
    if bridge:
        return
    exec(use, {})
    assert "HAPPO / environment only" in json.loads((tmp_path / "bench.json").read_text())
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", "\n".join(blocks("bash")), flags=re.M):
        assert f"\n{target}:" in makefile


def test_the_python_of_the_readme_runs():
    code = next(code for code in blocks("python") if "make_train" in code).replace(
        "total_timesteps=1e5", "total_timesteps=64, num_envs=4, num_steps=8, num_eval_episodes=2"
    )
    names = {}
    exec(code, names)
    assert names["out"]["metrics"]["eval/won"].shape[0] == 2
