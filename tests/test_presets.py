"""The shipped presets and rows: all of them compose, and every key of a preset is its source's or differs on purpose."""

import dataclasses
import functools
from pathlib import Path

import pytest
import yaml

import hamljax
from hamljax.algorithms import ALGORITHMS, FAMILIES
from hamljax.algorithms.table import family_of, resolve
from hamljax.errors import ConfigError
from hamljax.lab.cli import main
from hamljax.lab.configuration.groups import choices
from hamljax.lab.configuration.jobs import make_job
from hamljax.lab.configuration.remarks import of_family
from hamljax.lab.configuration.run_settings import RunSettings
from hamljax.lab.storage.saved_config import read_yaml

ROOT = Path(__file__).parents[1]
SOURCES = yaml.safe_load((Path(__file__).parent / "fixtures/preset_sources.yaml").read_text())
OURS = {"smax", "demo", "mamujoco/spring"}  # presets with no source but this repository


@functools.cache
def job(*words):
    return make_job(list(words))


def composed(preset: str) -> dict:
    """Every key that training sees, dotted."""
    found = {}
    for key, value in job(f"experiment={preset}").resolved.items():
        if key in {f.name for f in dataclasses.fields(RunSettings)} | {"logger"}:
            continue
        inner = value if isinstance(value, dict) else {"": value}
        found |= {f"{key}.{name}".removesuffix("."): x for name, x in inner.items()}
    return found


def source(name: str) -> dict:
    """{key: (what the preset has, what the source has, why they differ)} of an entry of the fixture, with its parents."""
    entry, said = SOURCES[name], {}
    for parent in entry.get("like", []):
        said |= source(parent)
    own = [(key, (value, value, "")) for key, value in entry.get("equal", {}).items()]
    own += [(key, (ours, theirs, why)) for key, (theirs, ours, why) in entry.get("differs", {}).items()]
    own += [(key, (ours, None, why)) for why, keys in entry.get("silent", {}).items() for key, ours in keys.items()]
    assert len(dict(own)) == len(own), f"{name} says a key twice"
    return said | dict(own)


def test_every_preset_with_a_name_has_a_source():
    assert {name for name in SOURCES if not name.startswith(".")} == set(choices("experiment")) - OURS


@pytest.mark.parametrize("preset", sorted(set(choices("experiment")) - OURS))
def test_every_key_of_a_preset_is_its_sources_or_differs_on_purpose(preset):
    said = source(preset)
    assert composed(preset) == {key: ours for key, (ours, _, _) in said.items()}
    assert all(why if ours != theirs else not why for ours, theirs, why in said.values())


def test_a_critic_clips_its_values_as_its_source_does():
    """HARL has one clip_param for the ratio and for the values."""
    for preset in choices("experiment"):
        algo = job(f"experiment={preset}").config.algo
        if preset.endswith("_ppo") or preset.startswith("smac_tuned"):
            assert algo.value_clip == algo.clip_eps, preset


@pytest.mark.parametrize(
    "preset", ["smax", "smac_paper_maa2c", "mamujoco/ant_4x2_ppo", "mamujoco/paper_ddpg_hopper", "mamujoco/ant_4x2_td3"]
)
def test_a_preset_can_be_overridden_within_its_kind(preset):
    off_policy = isinstance(job(f"experiment={preset}").config.algo, hamljax.OffPolicyAlgo)
    algo, other = ("masac", "hatrpo") if off_policy else ("hatrpo", "masac")
    config = make_job([f"experiment={preset}", "num_envs=32", f"algo={algo}", "total_timesteps=1e6"]).config
    assert config.num_envs == 32 and config.algo.name == algo and config.num_updates > 0
    with pytest.raises(ConfigError, match="leave one of the two out"):
        make_job([f"experiment={preset}", f"algo={other}", "total_timesteps=1e6"])


@pytest.mark.parametrize(
    "preset, algo, wanted",
    [
        ("smac_paper", "maa2c_s", {"update_epochs": 5}),
        ("smac_paper_maa2c", "maa2c_s", {"update_epochs": 1, "actor_lr": 5e-4}),
        ("mamujoco/paper_walker2d_maa2c", "maa2c_s", {"update_epochs": 1, "actor_lr": 1e-4}),
        ("mamujoco/walker2d_2x3_ppo", "mappo_s", {"actor_lr": 1e-3, "clip_eps": 0.05, "value_clip": 0.05}),
        ("mamujoco/walker2d_2x3_td3", "matd3", {"n_step": 20, "policy_delay": 8}),
    ],
)  # fmt: skip
def test_a_preset_holds_for_the_baselines_of_its_row(preset, algo, wanted):
    settings = job(f"experiment={preset}", f"algo={algo}").config.algo
    assert settings.name == algo and {name: getattr(settings, name) for name in wanted} == wanted


def test_a_preset_chooses_its_task_and_the_command_line_may_choose_another():
    assert job("experiment=mamujoco/ant_4x2_ppo").config.env.name == "mamujoco/ant_4x2"
    other = make_job(["experiment=mamujoco/ant_4x2_ppo", "env=mamujoco/ant_8x1", "env.backend=spring"]).config
    assert (other.env.name, other.env.backend, other.num_envs) == ("mamujoco/ant_8x1", "spring", 20)


# ROWS


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_row_is_the_same_from_yaml_and_from_python(name):
    """Its YAML says the columns of its row, which Python leaves to the table."""
    found, plain = job(f"algo={name}", "env=game/climbing").config.algo, family_of(name).settings(name=name)
    columns = {f.name for f in dataclasses.fields(ALGORITHMS[name])} & {f.name for f in dataclasses.fields(plain)}
    assert found.replace(**dict.fromkeys(columns)) == plain
    assert {c: getattr(found, c) for c in columns} == {c: getattr(ALGORITHMS[name], c) for c in columns}


def test_every_row_has_a_file_and_every_setting_a_line_with_what_it_means():
    """Of a family: all of its settings, as the dataclass has them, on lines that say what they are."""
    assert {name for name in ALGORITHMS if not (ROOT / f"conf/algo/{name}.yaml").is_file()} == set()
    for family in FAMILIES.values():
        text = (ROOT / "conf/algo" / f"_{family.name.replace('-', '_')}.yaml").read_text()
        found = read_yaml(text)
        elsewhere = {key: found[key] for key in family.elsewhere}
        assert elsewhere == family.elsewhere
        plain = dataclasses.asdict(family.settings())
        assert (found.get("algo", found)) == {name: x for name, x in plain.items() if name != "name"}


@pytest.mark.parametrize("name", ["happo", "hasac", "mappo_s"])
def test_what_a_family_sets_elsewhere_is_said(name, capsys):
    assert main(["--help"]) == 0
    family, said = family_of(name), capsys.readouterr().out
    for key, value in family.elsewhere.items():
        assert f"{key}={value}" in said and f"{key}={value}" in of_family(
            job(f"algo={name}", "env=game/climbing").config
        )
    assert bool(of_family(job(f"algo={name}", "env=game/climbing", "num_envs=5", "num_steps=7").config)) is False


@pytest.mark.parametrize("name", ["maa2c_s", "haddpg"])
def test_the_command_line_and_python_have_one_configuration(name):
    """Also what a row sets outside of ``algo``: an off-policy one collects less at a time."""
    assert job(f"algo={name}", "env=game/climbing").config == hamljax.config(name, "game/climbing")


@pytest.mark.parametrize("first, twins", [
    ("happo", ("mappo_ns", "mappo_s")), ("haa2c", ("maa2c_ns", "maa2c_s")), ("hatrpo", ("matrpo_ns", "matrpo_s")),
    ("haddpg", ("maddpg", "maddpg_s")), ("hatd3", ("matd3", "matd3_s")), ("hasac", ("masac", "masac_s")),
])  # fmt: skip
def test_twins_are_equal_but_for_coordination_and_sharing(first, twins):
    for twin, sharing in zip(twins, ("own", "all"), strict=True):
        one, other = (job(f"algo={name}", "env=game/climbing").config for name in (first, twin))
        assert other.replace(algo=other.algo.replace(name=first, coordination="sequential", sharing="own")) == one
        row = dataclasses.replace(resolve(other.algo), coordination="sequential", sharing="own", summary="")
        assert row == dataclasses.replace(resolve(one.algo), summary="")
        assert (resolve(other.algo).coordination, resolve(other.algo).sharing) == ("simultaneous", sharing)
