"""The arrows between rooms, and what the README shows."""

import ast
import json
import re
from pathlib import Path

import jax
import pytest
from sizes import long

from hamljax.lab.cli import COMMANDS, main
from hamljax.lab.commands import study, theory
from hamljax.lab.configuration.jobs import expand, make_job
from hamljax.training.train import make_learner

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "hamljax"
MAY_IMPORT = {  # rooms above, from below to the top; each may import those before it that are named
    "errors": "",
    "coercion": "errors",
    "cores": "",
    "settings": "errors coercion",
    "haml": "",
    "envs": "errors coercion",
    "tabular": "errors haml envs",
    "nn": "errors settings envs",
    "algorithms": "errors coercion settings haml envs nn",
    "training": "errors haml tabular envs nn algorithms",
    "bridge": "errors coercion cores envs",
    "lab": "errors coercion cores settings haml tabular envs nn algorithms training bridge",
}
# Rooms of the lab, each of which may import those before it.
LAB_ROOMS = ["statistics", "storage", "configuration", "drawing", "runs", "studies", "commands", "benchmarks"]
MOST_LINES = (335, 60)  # of a module, of a function
LAB_ONLY = {"hydra", "omegaconf", "rich", "matplotlib", "pandas", "wandb", "yaml", "tensorboardX", "orbax"}


def imports(file: Path):
    """(modules of hamljax, other top-level packages) that a module imports, anywhere in it."""
    modules, packages = set(), set()
    here = ("hamljax", *file.relative_to(PACKAGE).with_suffix("").parts)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            packages.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            source = here[1 : len(here) - node.level] + tuple((node.module or "").split(".") if node.module else ())
            modules |= {(*source, alias.name) for alias in node.names}
    return modules, packages


def files_of(room: str) -> list[Path]:
    return list((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows_point_down(room):
    for file in files_of(room):
        modules, packages = imports(file)
        rooms = {module[0] for module in modules}
        assert rooms - {room, "__version__"} <= set(MAY_IMPORT[room].split()), file
        if "worker" not in file.parts:  # another program, for which hamljax is a library
            assert "hamljax" not in packages, file
        if room != "lab":
            assert not packages & LAB_ONLY, file
        if room == "haml":
            own = {"numpy", "dataclasses", "functools", "itertools", "math", "time", "contextlib"}  # host arithmetic
            allowed = {"jax", "jaxtyping", "optax", "inspect", "collections", "typing"} | (
                own if "certificate" in file.parts else set()
            )
            assert packages <= allowed, file


def test_every_module_has_a_room():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    assert rooms - {"__init__"} == set(MAY_IMPORT)


@pytest.mark.parametrize("room", LAB_ROOMS)
def test_arrows_between_the_rooms_of_the_lab_point_down(room):
    allowed = LAB_ROOMS[: LAB_ROOMS.index(room) + 1]
    for file in files_of(f"lab/{room}"):
        inside = {module[1] for module in imports(file)[0] if module[0] == "lab"}
        assert inside <= set(allowed), file


def test_statistics_stand_on_numpy_and_scipy():
    for file in files_of("lab/statistics"):
        modules, packages = imports(file)
        assert {module[0] for module in modules if module[:2] != ("lab", "statistics")} <= {"errors"}, file
        assert packages <= {"numpy", "scipy", "math", "numbers", "dataclasses", "collections", "typing"}, file


def test_modules_and_functions_stay_short():
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text()
        assert len(text.splitlines()) <= MOST_LINES[0], file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < MOST_LINES[1], (file, node.name)


def unhinted(body: list[ast.stmt]) -> list[str]:
    """The public functions, and methods of classes, of which a parameter or the result has no type."""
    found = []
    for node in body:
        if isinstance(node, ast.ClassDef):
            found += unhinted(node.body)
        elif isinstance(node, ast.FunctionDef) and (node.name == "__init__" or not node.name.startswith("_")):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            hints = [x.annotation for x in given if x is not None and x.arg not in ("self", "cls")]
            hints += [] if node.name == "__init__" else [node.returns]
            found += [node.name] if None in hints else []
    return found


@pytest.mark.parametrize("room", ["envs", "bridge", "lab"])
def test_public_functions_have_types(room):
    missing = {file: names for file in files_of(room) if (names := unhinted(ast.parse(file.read_text()).body))}
    assert missing == {}


def test_a_function_without_types_is_found():
    code = (
        "class A:\n  def f(self, x) -> int: ...\n  def _g(self, x): ...\ndef h(x: int): ...\ndef i(*x: int) -> int: ..."
    )
    assert unhinted(ast.parse(code).body) == ["f", "h"]


README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


LINES = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("hamljax")]
LINES += re.findall(r"`(hamljax train plugin[^`]*)`", README)
# Of the commands; tests of these, smaller than the README's, are elsewhere.
LARGE = ("bridge/", "watch", "bench", " list")
CHEAP = {  # environments that are compiled in no time, and one program for all runs
    "smax/3m,smax/2s3z": "game/climbing",
    "smax/3m": "game/climbing",
    "smax/3s5z": "game/climbing",
    "algo=happo,mappo_s": "algo=happo gamma=0.9,0.5",
    "num_seeds=4": "num_seeds=2",
    "identities monotone": "monotone",  # test_tabular has the other check
}
TRACED = ("plugin=", "algo.sharing=")  # by the small test: no later command needs what they train
ONCE = ["network.hidden_sizes=[8]", "algo.update_epochs=1", "algo.critic_epochs=1"]
SIZES = {"train": ["num_envs=4", "num_steps=4", "total_timesteps=32", "num_eval_episodes=2", "num_evals=2"]}
SIZES |= {"bench": ["--quick"], "evaluate": ["num_episodes=4"], "theory": ["games=6", "sweeps=2", "drift=clip"]}
SMALLER = {"study": ["dry_run=true"]}  # of the small test; test_studies conducts one


def cheaper(text: str) -> str:
    for name, other in CHEAP.items():
        text = text.replace(name, other)
    return text


@pytest.mark.parametrize("bridge", [*long(True), False])
def test_every_command_of_the_readme_runs(bridge, large, tmp_path, monkeypatch):
    """The commands as shown, but for sizes.

    The small test has cheap environments too, one program for all runs, only traces what nothing goes on with, and leaves out
    what is large.
    """
    if not large:
        monkeypatch.setattr(study.Costs, "measure", lambda self, job: self.add(job, 10.0, 1e-4))
    _, use, *files = sorted(blocks("python"), key=lambda code: ("make_train" not in code, "hamljax.load" not in code))
    for name, code in zip(("square.py", "near.py", "my_game.py"), files, strict=True):
        (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    for line in LINES:
        if bridge != ("bridge/" in line or "doctor" in line) or not large and any(word in line for word in LARGE):
            continue
        _, command, *words = line.split() if large else cheaper(line).split()
        sizes = SIZES.get(command, []) + (ONCE if command == "train" and not large else [])
        sizes += [] if large else SMALLER.get(command, [])
        words = [w for w in words if w.split("=")[0] not in {s.split("=")[0] for s in sizes}]
        if not large and any(word in line for word in TRACED):
            learner = make_learner(make_job([*words, *sizes]).config)
            jax.eval_shape(lambda key, learner=learner: learner.update(learner.init(key)), jax.random.key(0))
        else:
            assert main([command, *words, *sizes]) == 0, line
    if not bridge:
        exec(use, {})
    if not bridge and large:
        assert "HAPPO / environment only" in json.loads((tmp_path / "bench.json").read_text())


def test_every_command_of_the_readme_is_read_to_its_end():
    assert {line.split()[1] for line in LINES} == set(COMMANDS)
    for line in LINES:
        _, command, *words = line.split()
        if command == "train" and "plugin" not in line:
            jobs = [make_job(job).config for job in expand([word for word in words if word != "-m"])]
            assert len({(job.algo.name, job.env.name) for job in jobs}) == (4 if "-m" in words else 1)
        if command in ("study", "theory"):
            {"study": study, "theory": theory}[command].read(words)
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", "\n".join(blocks("bash")), flags=re.M):
        assert f"\n{target}:" in makefile


@pytest.mark.long  # test_training has small ones of the kind
def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = next(code for code in blocks("python") if "make_train" in code).replace(
        "total_timesteps=1e5", "total_timesteps=64, num_envs=4, num_steps=8, num_eval_episodes=2"
    )
    names = {}
    exec(code, names)
    assert names["out"]["metrics"]["eval/won"].shape[0] == 2
    assert set(names["run"].metrics["seed"]) == {0, 1}
