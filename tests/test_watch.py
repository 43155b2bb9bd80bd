"""Watching a trained team: the episode that is played, who is which colour, and the file that is written."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.envs.base import PipelineEnv
from PIL import Image

from hamljax.envs import ENVIRONMENTS, configure, make
from hamljax.lab.cli import main
from hamljax.lab.commands.watch import make_player
from hamljax.lab.drawing import battles, paint, robots
from hamljax.lab.drawing.robot_painter import OBLIQUE, SIDE, STILL, TOP, view_of
from hamljax.lab.runs import trained
from hamljax.training.episode import Episode
from hamljax.training.train import Trainer

TINY = ["num_envs=2", "num_steps=4", "total_timesteps=8", "num_evals=0", "network.hidden_sizes=[8]"]
TASKS = sorted(name for name in ENVIRONMENTS if name.startswith("mamujoco/"))


@pytest.fixture(autouse=True, scope="module")
def _the_physics_of_a_robot_is_traced_once():
    """It is what takes long here, and all environments of one robot share it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("pipeline_init", "pipeline_step"):
            patch.setattr(PipelineEnv, name, jax.jit(getattr(PipelineEnv, name), static_argnums=0))
        yield


def untrained_run(folder, *words):
    """What a team has learnt is not seen in a picture, and to compile it takes long; it has seen observations of mean 0.5."""

    def stay(learner, state, count, capacity):
        norm = state.learnt.obs_norm
        if norm is not None:
            moments = norm.obs._replace(mean=norm.obs.mean + 0.5, variance=norm.obs.variance * 4)
            state = state._replace(learnt=state.learnt._replace(obs_norm=norm._replace(obs=moments)))
        return state, {f"train/{name}": jnp.zeros(capacity) for name in ("skipped", "no_legal_action")}

    no_rollout = mock.patch("hamljax.lab.runs.programs.check_memory")
    with mock.patch.object(Trainer, "run_updates", stay), no_rollout:
        assert main(["train", *TINY, *words, f"run_dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def hopper(tmp_path_factory):
    words = ["env=mamujoco/hopper_3x1", "env.backend=spring", "env.max_steps=20", "seed=3"]
    return untrained_run(tmp_path_factory.mktemp("hopper") / "run", *words)


@pytest.fixture(scope="module")
def battle(tmp_path_factory):
    words = ["env=smax/2m_vs_1z", "env.max_steps=6"]
    return untrained_run(tmp_path_factory.mktemp("battle") / "run", *words)


@pytest.fixture(scope="module")
def game(tmp_path_factory):
    words = ["env=game/tracking", "obs_norm=always", "num_seeds=2", "seed=3", "network.policy_gain=1.0"]
    return untrained_run(tmp_path_factory.mktemp("game") / "run", *words)


@pytest.fixture(scope="module")
def plays(game):
    """``plays[greedy](seed, number)``: episodes of the game."""
    team = trained.load(game)
    return {greedy: make_player(team, greedy, lambda env_state: env_state) for greedy in (True, False)}


@pytest.fixture(scope="module")
def hops(hopper):
    """``hops(seed, number)``: sampled episodes of the hopper."""
    return make_player(trained.load(hopper), False, robots.keep)


@pytest.fixture(scope="module")
def fight(battle):
    """The environment and first episode of the battle."""
    team = trained.load(battle)
    return team.trainer.env, make_player(team, True, battles.keep)(0, 0)


@pytest.fixture(scope="module")
def replay(game):
    """``replay(seed, number, greedy)``: rewards, with nothing but the actors' network and the environment."""
    team = trained.load(game)
    env, policies = team.trainer.env, team.trainer.learner.policy
    reset, step, network = jax.jit(env.reset), jax.jit(env.step), jax.jit(policies.actor.apply)

    def decide(state, key, observation, greedy):
        obs = observation._replace(obs=state.obs_norm.normalise(observation.obs))
        choose, logits = policies.distribution, []
        for agent in range(env.team.num_agents):
            params = jax.tree.map(lambda x, agent=agent: x[agent], state.params)
            mask = jnp.asarray(env.team.obs_mask)[agent, None, None]
            carry, seen = jnp.zeros((1, 0)), obs.obs[agent, None, None]
            logits.append(network(params, carry, seen, jnp.zeros((1, 1), bool), mask)[2][0, 0])
        logits = jnp.stack(logits)
        return choose.mode(logits, obs.avail_actions) if greedy else choose.sample(key, logits, obs.avail_actions)

    def play(seed, number, greedy):
        state, rewards = team.of_seed(seed), []
        key = jax.random.fold_in(jax.random.fold_in(state.eval_key, np.uint32(2**32 - 1)), number)
        reset_key, step_key = jax.random.split(key)
        env_state, observation = reset(reset_key)
        for key in jax.random.split(step_key, env.max_episode_length):
            act_key, env_key = jax.random.split(key)
            action = env.team.clip(decide(state, act_key, observation, greedy))
            env_state, out = step(env_key, env_state, action)
            observation = out.observation
            rewards.append(float(out.reward))
            if out.terminated or out.truncated:
                break
        return rewards

    return play


def frames_of(path):
    with Image.open(path) as picture:
        assert picture.format == "GIF" and picture.is_animated
        seen = []
        for frame in range(picture.n_frames):
            picture.seek(frame)
            seen.append(np.asarray(picture.convert("RGB")).astype(int))
    return np.array(seen)


def shows(frame, colour, tolerance=12):
    """How many pixels of a picture have a colour."""
    return int((np.abs(frame - 255 * np.array(paint.rgb(colour))) <= tolerance).all(-1).sum())


# THE EPISODE


@pytest.mark.parametrize("greedy", [True, False])
def test_the_recorded_rewards_are_those_of_an_independent_replay(plays, replay, greedy):
    episode = plays[greedy](4, 1)
    np.testing.assert_allclose(episode.reward, replay(4, 1, greedy), rtol=1e-4, atol=1e-4)
    assert len(episode.kept.time) == len(episode.reward) + 1


def test_seed_and_number_make_the_start_and_greed_only_the_actions(plays):
    episode, other = plays[True](4, 1), plays[False](4, 1)
    np.testing.assert_array_equal(episode.kept.targets[0], other.kept.targets[0])
    assert not np.allclose(episode.action[0], other.action[0])
    for seed, number in ((4, 2), (3, 1)):
        assert not np.allclose(plays[True](seed, number).kept.targets[0], episode.kept.targets[0])


def test_an_episode_is_cut_at_its_first_end():
    steps = jnp.arange(5)
    terminated, truncated = steps == 3, steps == 2
    cut = Episode(jnp.arange(6), steps, steps, 1.0 * steps, terminated, truncated, {"won": steps}).cut()
    assert cut.reward.tolist() == [0, 1, 2] and cut.kept.tolist() == [0, 1, 2, 3] and cut.metrics["won"][-1] == 2
    never = Episode(jnp.arange(6), steps, steps, 1.0 * steps, steps < 0, steps < 0, {}).cut()
    assert len(never.reward) == 5 and len(never.kept) == 6


# ROBOTS


@pytest.mark.parametrize("task", TASKS)
def test_every_actuated_joint_moves_only_what_its_agent_owns_or_carries(task):
    env = make(task)
    model, found, pieces = env.brax.sys.mj_model, robots.owners(env), robots.rods(env)
    colours = paint.palette(len(env.partition))
    assert len(set(colours)) == len(env.partition)
    for agent, own in enumerate(env.partition):
        for joint in own:
            assert agent in found[model.joint(joint).bodyid[0]]
            assert colours[agent] in {
                p.colour for p in pieces if model.geom_bodyid[p.geom] == model.joint(joint).bodyid[0]
            }
    driven = {int(model.joint(joint).bodyid[0]) for own in env.partition for joint in own}
    assert {body for body, agents in enumerate(found) if agents} == driven  # no robot here has welded bodies
    q = np.array(env.brax.sys.init_q)
    base = robots.places(env, pieces, q[None])[0]
    for agent, own in enumerate(env.partition):  # turning one joint moves a piece of its owner's
        turned = q.copy()
        turned[env.joints.q[own[0]]] += 0.5
        moved = np.abs(robots.places(env, pieces, turned[None])[0] - base).max((1, 2)) > 1e-6
        assert any(colours[agent] == piece.colour for piece, m in zip(pieces, moved, strict=True) if m)
    torso = [p for p in pieces if model.geom_bodyid[p.geom] == 1 and 1 not in driven]
    assert all(p.colour == paint.NOBODY for p in torso)


def test_only_the_reacher_has_a_target():
    for task in TASKS:
        words = [words for _, words in robots.legend(make(task))]
        assert ("target" in words) == ("reacher" in task), task


def test_robots_are_seen_from_where_they_move():
    views = {"hopper": SIDE, "walker2d": SIDE, "halfcheetah": SIDE, "ant": OBLIQUE, "humanoid": OBLIQUE}
    views |= {"coupled": OBLIQUE, "swimmer": TOP, "reacher": STILL}
    for task in TASKS:
        assert view_of(make(task).brax.sys.mj_model) is views[task.split("/")[1].split("_")[0]], task


def test_host_kinematics_agree_with_brax(hopper, hops):
    env, episode = trained.load(hopper).trainer.env, hops(3, 0)
    pieces = robots.rods(env)
    thigh = next(i for i, p in enumerate(pieces) if env.brax.sys.mj_model.geom(p.geom).name == "torso_geom")
    middle = robots.places(env, pieces, episode.kept["q"])[:, thigh].mean(1)
    np.testing.assert_allclose(middle, episode.kept["pos"][:, 0], atol=2e-3)  # the torso's link is its middle
    assert 1.0 < middle[0, 2] < 1.5  # it stands, though q says 0


def test_frames_are_in_real_time_and_end_with_the_end():
    assert robots.frames(20, 0.008, 120).tolist() == [0, 5, 10, 15, 20]
    assert robots.frames(7, 0.02, 120).tolist() == [0, 2, 4, 6, 7]
    assert robots.frames(1000, 0.05, 120).tolist() == list(range(120))


def test_a_robot_becomes_an_animated_gif_with_its_agents_in_their_colours(hopper, hops, capsys):
    assert main(["watch", str(hopper), "episode=2", "greedy=false"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    episode = hops(3, 2)
    steps = len(episode.reward)
    assert "mamujoco/hopper_3x1, seed 3, episode 2 (sampled)" in line and f"{steps} steps" in line
    assert f"return {episode.reward.sum():.2f}" in line and line.endswith(f"{hopper}/episode.gif")
    frames = frames_of(hopper / "episode.gif")
    assert len(frames) == len(robots.frames(steps, 0.008, 120))
    for frame in frames:
        field = frame[:, : frame.shape[1] * 6 // 10]  # without the legend
        assert all(shows(field, colour) > 30 for colour in (*paint.palette(3), paint.NOBODY))
    assert np.abs(frames[0] - frames[-1]).max() > 100


def test_a_page_holds_the_episode_and_its_agents_in_their_colours(hopper, hops, tmp_path):
    import base64
    import json
    import re
    import zlib

    out = tmp_path / "team.html"
    assert main(["watch", str(hopper), "greedy=false", f"out={out}"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["team.html"]
    page = out.read_text()
    scene = json.loads(zlib.decompress(base64.b64decode(re.search(r'system = "([^"]+)"', page)[1])))
    episode = hops(3, 0)
    assert len(scene["states"]["x"]) == len(episode.reward) + 1
    np.testing.assert_allclose(scene["states"]["x"][-1]["pos"], episode.kept["pos"][-1], atol=1e-5)
    assert scene["opt"]["timestep"] == pytest.approx(0.008)
    for link, colour in zip(("thigh", "leg", "foot"), paint.palette(3), strict=True):
        (geom,) = scene["geoms"][link]
        assert geom["name"] == "Capsule" and geom["rgba"] == pytest.approx([*colour, 1.0])
    assert all(f"agent {i}: {joint}_joint" in page for i, joint in enumerate(("thigh", "leg", "foot")))


def test_a_rod_of_several_agents_is_cut_into_a_piece_for_each():
    env = make("mamujoco/humanoid_17x1")
    model = env.brax.sys.mj_model
    thigh = [p for p in robots.rods(env) if model.geom(p.geom).name == "right_thigh1"]
    wanted = [f"right_hip_{axis}" for axis in "xzy"]  # the order of the body's joints
    colours = paint.palette(17)
    assert [p.colour for p in thigh] == [colours[env.partition.index((joint,))] for joint in wanted]
    half = model.geom("right_thigh1").size[1]
    assert [p.begin for p in thigh] == pytest.approx([-half, -half / 3, half / 3])
    assert thigh[-1].end == pytest.approx(half)


# BATTLES


def test_the_ticks_of_a_battle_are_those_that_were_fought(fight):
    env, episode = fight
    steps, fought = len(episode.reward), battles.ticks(env, episode)
    assert len(fought.position) == 8 * steps + 1 and fought.step[[0, 1, 8, 9]].tolist() == [0, 1, 1, 2]
    kept = episode.kept.state
    np.testing.assert_array_equal(fought.position[::8], kept.unit_positions)
    np.testing.assert_array_equal(fought.alive[::8], kept.unit_alive)
    full = np.asarray(env.smax.unit_type_health)[kept.unit_types[0]]
    np.testing.assert_allclose(fought.health[::8] * full, kept.unit_health)
    assert episode.reward.sum() == pytest.approx(
        (1 - fought.health[-1, 2]) + fought.alive[-1, :2].any() * ~fought.alive[-1, 2]
    )


def test_health_is_lost_exactly_where_shots_land():
    env = make(configure("smax/2m_vs_1z", max_steps=40))

    def attack(state, key):
        state, out = env.step(key, state, jnp.array([5, 5]))  # both shoot at the zealot, which comes to them
        return state, (state, out)

    first, _ = env.reset(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 30)
    _, (states, out) = jax.jit(lambda s, k: jax.lax.scan(attack, s, k))(first, keys)
    kept = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, states)
    action = jnp.full((30, 2), 5)
    episode = Episode(kept, keys, action, out.reward, out.terminated, out.truncated, out.metrics).cut()
    fought = battles.ticks(env, episode)
    hit = np.array([[(row == unit).any() for unit in range(3)] for row in fought.target])
    np.testing.assert_array_equal(hit[1:], np.diff(fought.health, axis=0) < 0)
    assert hit[:, 2].any() and hit[:, :2].any()
    half = battles.subsample(fought, 1000, 8)[0]
    assert len(half.position) == (len(fought.position) + 1) // 2
    assert (half.target[:, 0] == 2).sum() == (fought.target[:, 0] == 2).sum()  # shots between frames are shown


def test_a_battle_becomes_an_animated_gif(battle, fight, capsys, tmp_path):
    out = tmp_path / "fight.gif"
    assert main(["watch", str(battle), f"out={out}", "max_frames=10"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    steps = len(fight[1].reward)
    assert f"smax/2m_vs_1z, seed 0, episode 0 (greedy): {steps} steps" in line and ", not won; all" in line
    frames = frames_of(out)
    assert len(frames) == steps + 1  # ten pictures suffice for one a step
    for frame in frames:
        field = frame[: frame.shape[0] * 8 // 10]
        assert shows(field, battles.ALLY) > 30 and shows(field, battles.ENEMY) > 30


# MISTAKES


@pytest.mark.parametrize(
    ("words", "wanted"),
    {
        "{game} sed=1": "'seed'",
        "{battle} seed=1": "no seed 1 here: happo on smax/2m_vs_1z, seed 0,",
        "{game} seed=-1": "whole number",
        "{game} episode=first": "whole number",
        "{game} greedy=perhaps": "true or false",
        "{game} max_frames=0": "at least 1",
        "{game} out=team.gf": "'.gif'",
        "{game} out=team": ".gif or .html",
        "{game} out=nowhere/team.gif": "no folder",
        "nowhere/algo=happo": "does not exist",
        "{game} {game}": "one run directory",
        "": "one run directory",
        "{game}x": "/run'?",
        ".": "not a run directory",
        "{battle} out=team.html": ".gif only",
        "{game}": "mamujoco/... and smax/...",
    }.items(),
)
def test_a_mistake_is_one_line_exit_code_2_and_nothing_written(
    words, wanted, battle, game, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    before = {run: sorted(run.rglob("*")) for run in (battle, game)}
    capsys.readouterr()
    assert main(["watch", *words.format(battle=battle, game=game).split()]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("hamljax: error: ") and wanted in err
    assert list(tmp_path.iterdir()) == [] and before == {run: sorted(run.rglob("*")) for run in before}
