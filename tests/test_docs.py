"""docs/ say what the code does; mamujoco.md: its table of tasks, its tables of agents, its commands, its Python."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from PIL import Image

import hamljax
from hamljax.algorithms.base import Learner
from hamljax.envs import ENVIRONMENTS, configure, make
from hamljax.envs.mamujoco.partitions import SKELETONS, hops, swimmer_skeleton
from hamljax.haml.certificate import findings
from hamljax.haml.certificate.shipped import VERDICTS
from hamljax.lab.commands import certify
from hamljax.lab.configuration.jobs import expand, make_job
from hamljax.training.train import make_learner

PAGES = {
    name: (Path(__file__).parents[1] / f"docs/{name}.md").read_text()
    for name in ("mamujoco", "bridge", "certificates", "theory")
}
PAGE = PAGES["mamujoco"]
TASKS = sorted(name for name in ENVIRONMENTS if name.startswith("mamujoco/"))
COMMANDS = re.findall(r"^hamljax train .*$", PAGE, re.M)


def rows(text):
    """Cells of every line of a table whose first cell is no heading or rule."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def sizes(cell):
    """``2×9, 8`` -> (9, 9, 8)"""
    out = ()
    for part in cell.split(","):
        count, _, size = part.strip().rpartition("×")
        out += (int(size),) * int(count or 1)
    return out


def task_table():
    text = PAGE.split("<!-- TASKS -->")[1].split("<!-- END TASKS -->")[0]
    return {row[0].strip("`"): row[1:] for row in rows(text)[2:]}


def environments_of(page: str) -> list[str]:
    """The environment of every ``hamljax train`` on a page, which is read to its end."""
    found = []
    for command in re.findall(r"^hamljax train .*$", PAGES[page], re.M):
        (words,) = expand(shlex.split(command)[2:])
        found.append(make_job(words).config.env.name)
    return found


def test_every_task_is_in_the_table():
    assert sorted(task_table()) == TASKS


@pytest.mark.parametrize("task", TASKS)
def test_the_table_holds_the_sizes_of_the_code(task):
    agents, joints, *seen, state, steps = task_table()[task]
    for depth, cell in zip(("0", "1", "2", "all"), seen, strict=True):
        env = make(configure(task, agent_obsk=depth))
        assert env.team.obs_sizes == sizes(cell)
        assert env.team.world_state_size == int(state)
    assert env.team.num_agents == int(agents)
    assert env.team.action_sizes == sizes(joints)
    assert env.max_episode_length == int(steps)


def agent_tables():
    """``{task: rows}`` of the tables that follow a line starting with a task's name."""
    found = re.findall(r"^`(\w+)`[^\n|]*\n\n((?:\|[^\n]*\n)+)", PAGE, re.M)
    return {task: rows(table)[2:] for task, table in found}


def test_every_partition_has_a_table_of_agents():
    chains = {"swimmer_10x2", "swimmer_5x4", "swimmer_nxm"}  # described in a sentence
    assert set(agent_tables()) | chains == {task.removeprefix("mamujoco/") for task in TASKS}


@pytest.mark.parametrize("task", sorted(agent_tables()))
def test_the_tables_of_agents_say_who_drives_and_sees_what(task):
    robot = next(robot for robot in [*SKELETONS, "swimmer"] if task.startswith(robot))
    skeleton = swimmer_skeleton(2, 2) if robot == "swimmer" else SKELETONS[robot]
    partition = skeleton.partitions[task.removeprefix(f"{robot}_")]
    wanted = [[str(i), ", ".join(own), ", ".join(hops(own, skeleton.edges, 1)[1])] for i, own in enumerate(partition)]
    assert agent_tables()[task] == wanted


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command):
    _, _, *words = shlex.split(command)
    several = "-m" in words
    jobs = expand([word for word in words if word != "-m"])
    assert several == (len(jobs) > 1)
    for job in jobs:
        make(make_job(job).config.env)


def test_the_commands_are_found():
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, re.S))
def test_the_python_runs(code, capsys):
    exec(code, {})
    assert "bthigh" in capsys.readouterr().out


EXTENDING = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "docs/extending.md").read_text(), re.S)


def test_the_python_of_the_page_on_extending_trains():
    """Each block registers something, and a learner takes all of it."""
    for code in EXTENDING:
        if code.startswith("import"):
            exec(code, {})
    for choice in (
        {"algo": "haspo", "coordination": "halves", "critic": "wrapped"},
        {"drift": "square", "neighbourhood": "mostly_near", "order": "last_first"},
        {"neighbourhood": "wherever"},
    ):
        sizes = {"num_envs": 2, "num_steps": 4, "total_timesteps": 16, "hidden_sizes": (4,)}
        env = hamljax.configure("game/random", num_agents=3)
        learner = make_learner(hamljax.config(env=env, **choice, **sizes)).learner
        found = jax.eval_shape(learner.update, jax.eval_shape(learner.init, jax.random.key(0)))[1]
        assert found["train/objective"].shape == (), choice


ROOT = Path(__file__).parents[1]
MARKDOWN = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def without_blocks(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as code hosts have them."""
    titles = re.findall(r"^#+ +(.+?) *$", without_blocks(page), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page):
    """To files of this repository, and headings in them."""
    text = re.sub(r"`[^`\n]+`", "code", without_blocks(page))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, place = link.partition("#")
        if not path.startswith(("http:", "https:", "mailto:")):
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not place or target.suffix != ".md" or place in anchors(target), link


def test_what_is_public_stands_in_a_module_of_the_reference():
    """Which has their members."""
    modules = set(
        re.findall(r"^\.\. automodule:: (\S+)\n   :members:", (ROOT / "docs/reference.rst").read_text(), re.M)
    )
    found = [getattr(hamljax, public) for public in ("register_drift", "register_family", "make_train", "TeamPolicy")]
    for public in (*found, Learner):
        assert public.__module__ in modules and public.__doc__, public


@pytest.mark.long  # the two before have the links of the pages, and what stands in the reference
def test_the_site_is_made_and_its_links_lead_somewhere(tmp_path):
    """Pages, pictures and anchors; what is public stands in the reference."""
    command = [sys.executable, "-m", "sphinx", "-q", "-E", str(ROOT / "docs"), str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT)
    texts = {page.name: page.read_text() for page in tmp_path.glob("*.html")}
    assert {"index.html", "contents.html", "extending.html", "reference.html", "examples.html"} <= texts.keys()
    for name, text in texts.items():
        for link in re.findall(r'(?:href|src)="([^":]+)"', text.replace("&amp;", "&")):
            path, _, place = link.partition("#")
            target = tmp_path / (path.partition("?")[0] or name)
            assert target.is_file(), (name, link)
            if place and target.suffix == ".html" and target.name != "files.html":
                assert f'id="{place}"' in texts.get(target.name, target.read_text()), (name, link)
    for public in ("register_drift", "register_family", "make_train", "Learner", "TeamPolicy"):
        assert f"{public}</span>" in texts["reference.html"], public


def test_the_page_on_certificates_says_what_the_code_does(tmp_path, monkeypatch):
    """Its table of verdicts, its commands, its Python, and the kinds of counter-examples."""
    page = PAGES["certificates"]
    table = rows(page.split("<!-- VERDICTS -->")[1].split("<!-- END VERDICTS -->")[0])[2:]
    assert {name.strip("`"): (interior, closed) for name, interior, closed in table} == VERDICTS
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(code, {})
    (tmp_path / "square.py").write_text(
        code.split("found = ")[0].replace("def square", "@hamljax.register_drift('square')\ndef square")
    )
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^hamljax certify .*$", page, re.M)
    requests = [certify.read(shlex.split(command)[2:]) for command in commands]
    assert [request.drift for request in requests] == ["clip", "clip", "all", "square", "all"]
    assert requests[3].parameters == {"weight": 2.0} and requests[3].strict
    assert set(certify.READERS) <= set(re.findall(r"`(\w+)=", page))
    kinds = re.findall(r"\* ``(\w+)``", findings.Finding.__doc__)
    named = [row[0].strip("`") for row in rows(page) if row[0].strip("`") in kinds]
    assert named == kinds and len(kinds) == 7


@pytest.mark.long  # test_tabular has small ones of each command
def test_the_commands_and_the_python_of_the_page_on_theory_run():
    environments = environments_of("theory")
    assert len(environments) >= 2 and set(environments) == {"game/crowding"}
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", PAGES["theory"], re.S) if "make_train" in code]
    exec(code, names := {})
    assert names["policies"].shape == (2, 1 + 2, 6, 1, 2)


def test_the_picture_of_all_drifts_shows_all_that_ship():
    """What it shows stands in the file; ``hamljax certify drift=all out=docs/drifts.png budget=0`` makes it anew."""
    picture = Path(__file__).parents[1] / "docs/drifts.png"
    assert "](drifts.png)" in PAGES["certificates"] and "out=docs/drifts.png" in PAGES["certificates"]
    assert Image.open(picture).text["Description"].split() == list(VERDICTS)
    assert picture.stat().st_size < 200_000


def test_the_commands_of_the_bridges_page_are_understood():
    """They start other programs, which the tests of the bridge do; here they are read to the end."""
    environments = environments_of("bridge")
    assert len(environments) >= 5 and all(name.startswith("bridge/") for name in environments)
    named = set(re.findall(r"`bridge/(\w+)(?![\w/])", PAGES["bridge"]))
    families = {name.removeprefix("bridge/") for name in ENVIRONMENTS if name.startswith("bridge/")}
    assert named <= families and {"smac", "smacv2", "pettingzoo", "host"} <= named
