"""What a shell completes."""

import pytest

from hamljax.lab.cli import COMMANDS, main
from hamljax.lab.commands.completion import complete


@pytest.mark.parametrize(
    "line, wanted",
    [
        ("hamljax tr", ["train"]),
        ("hamljax train env=sm", ["env=smax/3m", "env=smax/smacv2_10_units"]),
        ("hamljax train experiment=mam", ["experiment=mamujoco/ant_4x2_ppo"]),
        ("hamljax train algo=ha", ["algo=happo", "algo=hatrpo", "algo=hasac"]),
        ("hamljax train algo=happo,mapp", ["algo=happo,mappo_ns", "algo=happo,mappo_s"]),
        ("hamljax train algo.cl", ["algo.clip_eps=", "algo.clip_value="]),
        ("hamljax train algo=hasac algo.bu", ["algo.buffer_size="]),
        ("hamljax train env=game/crowding env.num_a", ["env.num_agents="]),
        ("hamljax train algo=happo,mappo_s algo.clip_e", ["algo.clip_eps="]),
        ("hamljax train num_", ["num_envs=", "num_seeds="]),
        ("hamljax train hydra/launcher=", ["hydra/launcher=basic", "hydra/launcher=joblib"]),
        ("hamljax train hydra/sweeper=t", ["hydra/sweeper=tune"]),
        ("hamljax train --c", ["--cfg", "--config-dir"]),
    ],
)
def test_a_word_is_completed(line, wanted):
    found = complete(line, COMMANDS)
    assert set(wanted) <= set(found), found
    assert all(word.startswith(line.split()[-1].rsplit(",", 1)[0]) for word in found)


@pytest.mark.parametrize(
    "line", ["hamljax train algo=hapo ", "hamljax train gamma=0", "hamljax resume ru", "hamljax zz", "", "hamljax"]
)
def test_what_has_no_names_is_left_to_the_shell(line):
    found = complete(line, COMMANDS)
    assert not found or line.endswith(" ") or len(line.split()) < 2


def test_a_shell_asks_with_the_line_in_its_environment(monkeypatch, capsys):
    monkeypatch.setenv("COMP_LINE", "hamljax train algo=hatr seed=0")
    monkeypatch.setenv("COMP_POINT", str(len("hamljax train algo=hatr")))
    assert main(["-sc", "query=bash"]) == 0
    assert capsys.readouterr().out.split() == ["algo=hatrpo", "algo=hatrpo_w"]
    assert main(["train", "-sc", "install=bash"]) == 0
    assert "complete -o nospace" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, line", [(["-sc", "instal=bash"], "install"), (["-sc", "install=fish"], "unknown shell")]
)
def test_what_it_does_not_know_is_one_line(words, line, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert line in said and len(said.splitlines()) == 1
