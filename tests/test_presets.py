"""The shipped presets: all of them compose, and hold the numbers of their sources."""

import pytest

from hamljax.algorithms import is_off_policy
from hamljax.errors import ConfigError
from hamljax.lab.configuration import choices, make_job


@pytest.mark.parametrize("preset", choices("experiment"))
def test_every_preset_composes_and_can_be_overridden(preset):
    off_policy = is_off_policy(make_job([f"experiment={preset}"]).config.algo.name)
    algo, other = ("masac", "hatrpo") if off_policy else ("hatrpo", "masac")
    config = make_job([f"experiment={preset}", "num_envs=32", f"algo={algo}", "total_timesteps=1e6"]).config
    assert config.num_envs == 32 and config.algo.name == algo and config.num_updates > 0
    with pytest.raises(ConfigError, match="leave one of the two out"):
        make_job([f"experiment={preset}", f"algo={other}", "total_timesteps=1e6"])


@pytest.mark.parametrize(
    "preset, algo, wanted",
    [
        ("smac_paper", "haa2c", {"actor_lr": 5e-4, "critic_lr": 5e-4, "update_epochs": 5, "max_grad_norm": 10.0}),
        ("smac_paper", "maa2c_s", {"update_epochs": 1}),
        ("mamujoco/paper_ant", "haa2c", {"actor_lr": 2e-4, "critic_lr": 1e-3, "update_epochs": 5}),
        ("mamujoco/paper_walker2d", "maa2c_ns", {"actor_lr": 1e-4, "update_epochs": 1}),
        ("mamujoco/walker2d_2x3_ppo", "mappo_s", {"actor_lr": 1e-3, "num_minibatches": 2, "clip_eps": 0.05, "anneal_lr": True}),
        ("mamujoco/halfcheetah_2x3_ppo", "happo", {"update_epochs": 15, "ent_coef": 0.01}),
        ("mamujoco/hopper_3x1_trpo", "hatrpo", {"max_kl": 0.001}),
        ("mamujoco/paper_ddpg_hopper", "maddpg", {"n_step": 20, "tau": 0.1, "batch_size": 1000, "learning_starts": 25_000}),
        ("mamujoco/paper_ddpg_reacher", "haddpg", {"n_step": 5, "target_every": 50, "gradient_steps": 50, "actor_lr": 3e-4}),
        ("mamujoco/ant_4x2_ddpg", "haddpg", {"n_step": 20, "exploration_noise": 0.05, "gradient_steps": 25, "tau": 0.005}),
        ("mamujoco/walker2d_2x3_td3", "matd3", {"n_step": 20, "policy_delay": 8, "critic_lr": 1e-3, "batch_size": 1000}),
        ("mamujoco/ant_4x2_a2c", "haa2c", {"update_epochs": 5, "value_clip": 0.1, "ent_coef": 0.0}),
    ],
)  # fmt: skip
def test_presets_hold_the_numbers_of_their_sources(preset, algo, wanted):
    settings = make_job([f"experiment={preset}", f"algo={algo}"]).config.algo
    assert {name: getattr(settings, name) for name in wanted} == wanted


def test_a_preset_chooses_its_task_and_the_command_line_may_choose_another():
    assert make_job(["experiment=mamujoco/ant_4x2_ppo"]).config.env.name == "mamujoco/ant_4x2"
    other = make_job(["experiment=mamujoco/ant_4x2_ppo", "env=mamujoco/ant_8x1", "env.backend=spring"]).config
    assert (other.env.name, other.env.backend, other.num_envs) == ("mamujoco/ant_8x1", "spring", 20)
