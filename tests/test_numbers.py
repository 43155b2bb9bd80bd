"""Numbers at the edges: bounds of actions, what a mask excludes, scales, offsets, long runs, other precisions, memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sizes import long

import hamljax
from hamljax.algorithms.off_policy.critics import ActionValueCritics
from hamljax.algorithms.off_policy.replay import Replay, Transition
from hamljax.algorithms.on_policy.returns import value_loss
from hamljax.envs import VecEnv
from hamljax.envs.autoreset import Numbering
from hamljax.envs.protocol import Environment, Observation, Step, Team
from hamljax.errors import ConfigError
from hamljax.lab.runs import memory, programs, progress
from hamljax.lab.runs.notes import Notes
from hamljax.nn.distributions import Categorical, Deterministic, Gaussian, SquashedGaussian
from hamljax.nn.normalisation import Moments, ValueNorm
from hamljax.training.train import make_learner, make_train

ON_POLICY = [name for name, row in hamljax.ALGORITHMS.items() if isinstance(row, hamljax.Algorithm)]
SIZES = {"num_envs": 4, "num_steps": 8, "total_timesteps": 64, "num_evals": 0, "hidden_sizes": (8,)}
REPLAY = {"learning_starts": 16, "buffer_size": 64, "batch_size": 16, "gradient_steps": 2, "n_step": 3}


def config(algo, network="mlp", **overrides):
    off_policy = isinstance(hamljax.ALGORITHMS[algo], hamljax.OffPolicyAlgorithm)
    env = overrides.pop("env", "game/climbing")
    return hamljax.config(algo, env, network, **{**SIZES, **(REPLAY if off_policy else {}), **overrides})


@functools.cache
def collected(algo="happo"):
    """The state of a run on ``Junk`` without any, with normalised observations, and its first rollout."""
    loop = make_learner(config(algo, obs_norm="always"), Junk(jnp.float32(0))).learner
    return jax.jit(lambda key: loop.collect(loop.init(key)))(jax.random.key(0))


def leaves_equal(x, y) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(*map(jax.tree.leaves, (x, y)), strict=True))


# BOUNDS

LOW, HIGH = ((0.0, -0.4), -1.0), ((100.0, 0.4), 1.0)


class Aim(Environment):
    """Two agents of two and one dimensions: each is paid for being near 0.4 of its own intervals, from -1 to 1."""

    def __init__(self, low=LOW, high=HIGH):
        self.team = Team((1, 1), (2, 1), 1, discrete=False, action_low=low, action_high=high)
        self.max_episode_length = 4

    def reset(self, key):
        return jnp.int32(0), self._see()

    def step(self, key, time, action):
        low, high = (jnp.asarray(x, jnp.float32) for x in (self.team.low, self.team.high))
        error = jnp.where(self.team.action_mask, jnp.abs(2 * (action - low) / (high - low) - 1 - 0.4), 0.0)
        inside = ((action >= low) & (action <= high) | ~self.team.action_mask).all()
        return time + 1, Step(self._see(), 1 - error.sum() / 3, jnp.bool_(False), time + 1 >= 4, {"inside": inside})

    def _see(self):
        return Observation(jnp.ones((2, 1)), jnp.ones(1), jnp.asarray(self.team.action_mask), jnp.ones(2, bool))


OWN_AND_SHARED = ["happo", "mappo_s"]


@pytest.mark.parametrize("algo", OWN_AND_SHARED + long(*(algo for algo in ON_POLICY if algo not in OWN_AND_SHARED)))
def test_a_policys_unit_interval_is_the_environments(algo):
    """Of every dimension of every agent; the log-probability is that of the sample before it was scaled."""
    policies = make_learner(config(algo), Aim()).learner.policy
    seen = jax.tree.map(lambda x: jnp.broadcast_to(x, (4, *x.shape)), Aim()._see())
    params = jax.jit(policies.init)(jax.random.key(0), seen)
    act = jax.jit(policies.act)
    _, action, said = act(params, policies.initial_memory(4), jax.random.key(1), seen, jnp.ones(4, bool))
    played = policies.to_env_action(action)
    unit = np.clip(action, -1, 1)
    np.testing.assert_allclose(played[:, 0, 0], 50 + 50 * unit[:, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(played[:, 0, 1], 0.4 * unit[:, 0, 1], rtol=1e-5)
    np.testing.assert_allclose(played[:, 1, 0], unit[:, 1, 0], rtol=1e-5)
    wanted = Gaussian.log_prob(said["logits"], seen.avail_actions, action)
    np.testing.assert_allclose(said["log_prob"], wanted, rtol=1e-5)
    np.testing.assert_allclose(policies.to_env_action(jnp.full((2, 2), 3.0)), Aim().team.high, rtol=1e-6)
    for extreme in (-3.0, 0.4, 3.0):  # where 0.4 is played everybody is paid in full
        _, step = Aim().step(None, jnp.int32(0), policies.to_env_action(jnp.full((2, 2), extreme)))
        assert step.metrics["inside"] and (abs(step.reward - 1) < 1e-5) == (extreme == 0.4)


def last_returns(algo, env, **overrides):
    sizes = {"num_envs": 16, "num_steps": 8, "total_timesteps": 16 * 8 * 60, "actor_lr": 1e-2, "critic_lr": 1e-2}
    made = config(algo, **{**sizes, "ent_coef": 0.0, "max_kl": 0.05, **overrides})
    metrics = jax.jit(make_train(made, env))(jax.random.key(0))["metrics"]
    assert metrics["train/inside"].min() == 1
    return metrics["train/episode_return"][-10:].mean() / 4


@pytest.mark.long  # what it takes, that samples are scaled into the bounds and their likelihoods are not, is tested above
def test_a_goal_anywhere_between_the_bounds_is_learnt():
    """An untrained policy earns 0.55, one that is clipped instead of scaled could not leave the edge of 0 to 100."""
    assert last_returns("happo", Aim()) > 0.8


@pytest.mark.long
@pytest.mark.parametrize("algo", ON_POLICY)
def test_every_row_learns_a_goal_between_the_bounds(algo):
    assert last_returns(algo, Aim()) > 0.75


def test_bounds_may_be_missing_but_not_on_one_side():
    team = Team((1, 1), (2, 1), 1, discrete=False, action_low=(-np.inf, -1.0), action_high=(np.inf, 3.0))
    action = jnp.array([[7.0, -8.0], [0.5, 0.0]])
    np.testing.assert_allclose(team.clip(team.from_unit(action)), [[7, -8], [2, 0]])
    for low, high, line in (
        (0.0, np.inf, "dimension 0 of agent 0's action is bounded on one side only"),
        ((0.0, (-1.0,)), (1.0, (-2.0,)), "agent 1's action: action_low=-1.0 is not below action_high=-2.0"),
        ((0.0, 0.0, 0.0), 1.0, "action_low has 3 entries for 2 agents"),
        (((0.0,), 0.0), 1.0, "action_low of agent 0 must be a number or 2 of them"),
    ):
        with pytest.raises(ConfigError, match=line):
            Team((1, 1), (2, 1), 1, discrete=False, action_low=low, action_high=high)
    for wide in (1e39, 1.8e308):  # no float32, so no bound
        everywhere = Team((1,), (2,), 1, discrete=False, action_low=-wide, action_high=wide)
        np.testing.assert_array_equal(everywhere.clip(everywhere.from_unit(jnp.array([[0.0, 0.5]]))), [[0, 0.5]])
    arrays = Team((1,), (2,), 1, discrete=False, action_low=np.array([[0.0, -1.0]]), action_high=[[1.0, 2.0]])
    assert arrays == Team((1,), (2,), 1, discrete=False, action_low=((0.0, -1.0),), action_high=((1.0, 2.0),))
    assert hash(arrays) == hash(arrays)


# MASKS


class Junk(Environment):
    """``junk`` stands wherever nobody is to look: in padding, in what the dead see, in final observations of ended tasks."""

    max_episode_length = 5

    def __init__(self, junk, discrete=True):
        self.junk, self.team = junk, Team((2, 1), (3, 2), 2, discrete=discrete)

    def reset(self, key):
        state = jax.random.randint(key, (), 2, 6), jnp.int32(0)
        return state, self._see(state, False)

    def step(self, key, state, action):
        length, time = state[0], state[1] + 1
        over, late = (time >= length) & (length < 5), (time >= 5) & (length >= 5)
        reward = jnp.sum(action * jnp.array([1.0, -0.5]).reshape((2,) + (1,) * (action.ndim - 1))) + 0.1 * time
        return (length, time), Step(self._see((length, time), over), reward, over, late, {})

    def _see(self, state, over):
        length, time = state
        dead = (time % 3 == 2) & (length > 2)
        seen = jnp.stack([time / 5, length / 5])
        obs = jnp.stack([seen, jnp.stack([time / 5, self.junk])]).at[1, 0].set(jnp.where(dead, self.junk, time / 5))
        legal = jnp.asarray(self.team.action_mask)
        seen, obs = (jnp.where(over, self.junk, x) for x in (seen, obs))
        return Observation(obs, seen, legal, jnp.stack([jnp.bool_(True), ~dead]))


def same_whatever_stands_there(algo, overrides, discrete=True):
    made = config(algo, **overrides)
    discrete = discrete and algo not in ("haddpg", "hatd3", "maddpg", "matd3", "maddpg_s", "matd3_s")
    train = jax.jit(lambda key, junk: without_storage(make_train(made, Junk(junk, discrete))(key)))
    found = [train(jax.random.key(0), jnp.float32(junk)) for junk in (0.0, 3.0, jnp.nan, jnp.inf, -jnp.inf)]
    assert found[0]["metrics"]["train/skipped"].max() == 0
    assert all(leaves_equal(found[0], other) for other in found[1:])


def without_storage(out):
    """Everything but what is stored as the environment gave it."""
    state = out["runner_state"]
    rollout = state.rollout._replace(env_state=None, observation=None, key=None)
    return {"metrics": out["metrics"], "runner_state": state._replace(rollout=rollout, replay=None, eval_key=None)}


NORMS = {"obs_norm": "always", "input_norm": True}


@pytest.mark.parametrize(
    "algo, overrides, discrete",
    [
        ("happo", {"critic": "fp", **NORMS}, True),
        ("hasac", {"obs_norm": "always"}, False),
        *long(
            ("happo", {"critic": "fp", **NORMS, "network": "gru"}, True),
            ("mappo_s", {"truncation": "drop", "critic": "ep"}, True),
            ("hasac", {"obs_norm": "always"}, True),
            ("hatd3", {"truncation": "terminal"}, False),
        ),
    ],
)
def test_what_a_mask_excludes_has_no_number(algo, overrides, discrete):
    same_whatever_stands_there(algo, overrides, discrete)


@pytest.mark.long
@pytest.mark.parametrize("algo", hamljax.ALGORITHMS)
def test_what_a_mask_excludes_has_no_number_in_any_row(algo):
    same_whatever_stands_there(algo, {})


@pytest.mark.parametrize("junk", [jnp.nan, jnp.inf, -jnp.inf])
@pytest.mark.parametrize("kind", [Categorical, Gaussian, SquashedGaussian, Deterministic(0.1)], ids=repr)
def test_what_is_no_action_has_no_number_in_a_distribution(kind, junk):
    """Nor in a gradient."""
    avail = jnp.array([True, True, False])
    shape = (2, 3) if kind in (Gaussian, SquashedGaussian) else (3,)
    logits = jax.random.normal(jax.random.key(0), shape)
    action = jnp.int32(1) if kind is Categorical else jnp.array([0.3, -0.2, junk])
    names = {"log_prob", "entropy", "kl"} & set(dir(kind))

    def numbers(logits):
        calls = {
            "log_prob": lambda: kind.log_prob(logits, avail, action),
            "entropy": lambda: kind.entropy(logits, avail),
            "kl": lambda: kind.kl(logits, 0.5 * logits, avail),
        }
        sample = (0.0, 0.0) if kind is Gaussian else kind.sample_and_log_prob(jax.random.key(1), logits, avail)
        greedy = jnp.sum(kind.mode(logits, avail)).astype(jnp.float32)
        return sum(calls[name]() for name in sorted(names)) + jnp.sum(sample[0]) + sample[1] + greedy

    clean, dirty = (jnp.where(avail, logits, x) for x in (0.0, junk))
    found, wanted = (jax.value_and_grad(numbers)(x) for x in (dirty, clean))
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(jnp.where(avail, found[1], 0.0), jnp.where(avail, wanted[1], 0.0))
    assert (jnp.where(avail, 0.0, found[1]) == 0).all()


@pytest.mark.parametrize("algo", ["happo", "hasac"])
def test_whatever_a_lost_step_left_behind_has_no_number(algo):
    """The step's own observation, its reward, its end and, in a rollout, its likelihood: nothing that is learnt changes."""
    loop = make_learner(config(algo, obs_norm="always"), Junk(jnp.float32(0))).learner
    before, rollout = collected(algo)
    if algo == "hasac":  # a replay has room for what it is to hold
        kept = before.replay.steps._replace(valid=np.ones_like(before.replay.steps.terminated))
        before = before._replace(replay=before.replay._replace(steps=kept))

    @jax.jit
    def learn(state, rollout, lost, junk):
        def spoil(x):
            there = lost.reshape(lost.shape + (1,) * (x.ndim - 2))
            return jnp.where(there, junk, x) if jnp.issubdtype(x.dtype, jnp.floating) else x

        steps = rollout.transitions
        names = {"observation", "final", "reward", "log_prob", "logits"} & set(steps._fields)
        spoilt = {name: jax.tree.map(spoil, getattr(steps, name)) for name in names}
        ends = {"truncated": steps.truncated & ~steps.terminated | lost, "terminated": steps.terminated & ~lost}
        changed = steps._replace(**spoilt, **ends, valid=~lost)
        return loop.learn(state, rollout._replace(transitions=changed))[0]

    lost = jax.random.uniform(jax.random.key(1), rollout.transitions.terminated.shape) < 0.3
    state = learn(before, rollout, lost, jnp.float32(0))
    for junk in (jnp.nan, jnp.inf):
        other = learn(before, rollout, lost, jnp.float32(junk))
        assert leaves_equal(state.learnt, other.learnt)
    assert not leaves_equal(state.learnt.agents.params, before.learnt.agents.params)


class Stuck(Junk):
    """The second agent has no legal action at times 1 and 4, of which it is dead at none."""

    def _see(self, state, over):
        seen = super()._see((jnp.int32(2), state[1]), False)
        return seen._replace(avail_actions=seen.avail_actions.at[1].set(state[1] % 3 != 1))


def test_how_often_an_agent_has_no_legal_action_is_counted():
    made = config("happo", num_steps=10, total_timesteps=80)
    loop = make_learner(made, Stuck(jnp.float32(0))).learner

    @jax.jit
    def counted(key):
        state, rollout = loop.collect(loop.init(key))
        return loop.learn(state, rollout)[1]["train/no_legal_action"], rollout.transitions.observation.avail_actions

    found, avail = counted(jax.random.key(0))
    assert found == (~avail.any(-1)).sum() > 0


def test_a_run_says_so_once():
    said = []
    notes = Notes(said.append)
    for count in (0, 1234, 5):
        notes.of_the_stuck(count, 48)
    assert len(said) == 1 and "1,234 times" in said[0] and "up to step 48" in said[0]


def test_bytes_stay_bytes_until_a_network_sees_them():
    class Pixels(Junk):
        def _see(self, state, over):
            seen = super()._see(state, False)
            return seen._replace(obs=seen.obs.astype(jnp.uint8), world_state=seen.world_state.astype(jnp.uint8))

    for algo in ("happo", "hasac"):
        loop = make_learner(
            config(algo, critic="fp") if algo == "happo" else config(algo), Pixels(jnp.float32(0))
        ).learner
        state = jax.eval_shape(loop.init, jax.random.key(0))
        state, rollout = jax.eval_shape(loop.collect, state)
        for seen in (rollout.transitions.observation, rollout.transitions.final):
            assert seen.obs.dtype == seen.world_state.dtype == jnp.uint8
        jax.eval_shape(loop.learn, state, rollout)


# ADVANTAGES AND TARGETS


def test_a_dropped_step_has_no_part_in_the_advantages_nor_in_the_policies():
    """Advantages of the others are normalised among themselves, and whatever the dropped one earned changes no policy."""
    made = config("happo", truncation="drop", gae_lambda=0.0, obs_norm="always")
    loop = make_learner(made, Junk(jnp.float32(0))).learner
    state, traj = collected()
    steps = traj.transitions
    assert steps.truncated.any()

    @jax.jit
    def advantages(steps):
        teaches = loop.step_mask(steps._replace(valid=jnp.ones_like(steps.truncated)))
        alive = steps.observation.alive & teaches[..., None]
        silenced = traj._replace(transitions=steps._replace(observation=steps.observation._replace(alive=alive)))
        values = (jnp.zeros((*steps.reward.shape, 1)),) * 2
        returns, _ = loop.critic._returns(ValueNorm.create(False), silenced, values, teaches)
        return loop.agent_advantages(returns, alive)[0], alive

    advantage, alive = advantages(steps)
    kept = np.asarray(advantage)[np.asarray(alive)]
    assert abs(kept.mean()) < 1e-5 and abs(kept.std() - 1) < 1e-3
    learn = jax.jit(loop.learn)
    late, action = np.asarray(steps.truncated), np.asarray(steps.action)
    odd = steps._replace(
        reward=np.where(late, np.float32(1e3), steps.reward), action=np.where(late[..., None], 1 - action % 2, action)
    )
    odd = traj._replace(transitions=odd)
    after, same = learn(state, traj)[0], learn(state, odd)[0]
    assert leaves_equal((after.learnt.agents, after.learnt.critic), (same.learnt.agents, same.learnt.critic))
    assert not leaves_equal(after.learnt.agents, state.learnt.agents)


def of_long_episodes(n_step):
    made = config("hasac", env="game/random", n_step=n_step, buffer_size=256, num_steps=32, total_timesteps=256)
    return make_learner(made, hamljax.make_env(hamljax.configure("game/random", horizon=1000))).learner


@functools.cache
def worthless():
    """A state whose replay holds rewards of 0 alone, and agents that are uniform."""
    loop = of_long_episodes(1)

    @jax.jit
    def begin(key):
        state, rollout = loop.collect(loop.init(key))
        steps = rollout.transitions
        return state._replace(replay=state.replay.add(steps._replace(reward=jnp.zeros_like(steps.reward))))

    state = begin(jax.random.key(0))
    uniform = jax.tree.map(np.zeros_like, state.learnt.agents.params)
    log_alpha = np.full(2, -np.log(2 * np.log(3.0)), np.float32)
    return state, state.learnt.agents._replace(params=uniform, log_alpha=log_alpha)


@pytest.mark.parametrize("n_step", [1, 5, *long(2, 20)])
def test_a_temperature_means_the_same_for_every_n(n_step, monkeypatch):
    """Reward 0, entropies that are worth 1 in every state, gamma 0.99: the soft value is 0.99 / (1 - 0.99) = 99."""
    loop, (state, agents) = of_long_episodes(n_step), worthless()
    monkeypatch.setattr(
        ActionValueCritics, "value", lambda self, params, world_state, joint: jnp.full(len(world_state), 99.0)
    )
    np.testing.assert_allclose(targets_of(loop)(state, agents), 99.0, rtol=1e-5)


def targets_of(loop):
    """The targets of a sample of a state's replay, with the temperatures of some agents."""

    @jax.jit
    def targets(state, agents):
        sample, key = loop._sample(state, jax.random.key(1))
        return loop._target(agents, state.learnt.targets, loop._seen(state.learnt.obs_norm, sample), key)

    return targets


@pytest.mark.parametrize("n_step", [3, *long(1)])
def test_the_dead_have_no_entropy_in_a_target(n_step):
    """A dead agent's temperature of e^20 would be seen at once."""
    loop = make_learner(config("masac", n_step=n_step), Junk(jnp.float32(0), discrete=False)).learner

    @jax.jit
    def begin(key):
        state, rollout = loop.collect(loop.init(key))
        steps, dead = rollout.transitions, jnp.array([True, False])
        kill = {
            name: getattr(steps, name)._replace(alive=jnp.broadcast_to(dead, (*steps.reward.shape, 2)))
            for name in ("observation", "final")
        }
        return state._replace(replay=state.replay.add(steps._replace(**kill)))

    state, targets = begin(jax.random.key(0)), targets_of(loop)
    log_alpha = np.asarray(state.learnt.agents.log_alpha)
    hot = state.learnt.agents._replace(log_alpha=np.array([log_alpha[0], 20.0], np.float32))
    np.testing.assert_array_equal(targets(state, state.learnt.agents), targets(state, hot))


def test_nothing_to_learn_from_moves_no_critic():
    loop = make_learner(config("masac"), Junk(jnp.float32(0), discrete=False)).learner
    critic = jax.jit(lambda key: loop.init(key).learnt.critic)(jax.random.key(0))
    seen, joint = jnp.ones((4, 2)), jnp.ones((4, 2, 3))
    fitted, _ = jax.jit(loop.critics.fit)(critic, seen, joint, jnp.ones(4), jnp.zeros(4, bool))
    assert leaves_equal(fitted.params, critic.params)


def test_an_environment_is_asked_for_an_action_that_there_is():
    """Also where a network has no numbers: the line about that comes later than the step."""
    logits, avail = jnp.full((5, 3), jnp.nan), jnp.array([False, True, True])
    for action in (Categorical.sample(jax.random.key(0), logits, avail), Categorical.mode(logits, avail)):
        assert action.dtype == jnp.int32 and (action == 1).all()


# SCALES, OFFSETS AND LONG RUNS


@pytest.mark.parametrize("mean, std", [(0.0, 1e-6), (1e3, 1.0), (1e4, 1.0), (1e5, 10.0), (-1e4, 1e3), (0.0, 1e6)])
def test_value_norm_knows_a_small_spread_around_a_large_mean(mean, std):
    batches = mean + std * np.random.default_rng(0).normal(size=(400, 64))
    norm, _ = jax.lax.scan(
        lambda norm, x: (norm.update(x), None), ValueNorm.create(True), jnp.asarray(batches, jnp.float32)
    )
    found = norm.statistics()
    np.testing.assert_allclose(found[1], std, rtol=0.05)
    np.testing.assert_allclose(norm.normalise(jnp.float32(mean + std)), 1.0, atol=0.1)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
def test_returns_that_are_all_the_same_are_normalised_to_nothing(value):
    norm, _ = jax.lax.scan(lambda norm, x: (norm.update(x), None), ValueNorm.create(True), jnp.full((300, 7), value))
    assert abs(norm.normalise(jnp.nextafter(jnp.float32(value), jnp.float32(1)))) <= 1
    np.testing.assert_allclose(norm.denormalise(jnp.array([0.0, 1.0])), value, rtol=2e-6)


def test_both_parts_of_a_mean_count():
    moments = Moments(jnp.float32(1), jnp.array([1e4], jnp.float32), jnp.ones(1), jnp.array([4e-4], jnp.float32))
    np.testing.assert_allclose(moments.away(jnp.array([1e4], jnp.float32)), [-4e-4])
    norm = ValueNorm.create(True)._replace(moments=moments)
    np.testing.assert_allclose(norm.normalise(jnp.float32(1e4)), -4e-4, rtol=1e-5)


@pytest.mark.parametrize("share, before", [(0.005, 0), (0.001, 0), (0.05, 1000)])
def test_rare_returns_are_fitted_in_their_mean(share, before):
    """Returns of 1 in a share of all samples, perhaps after many of 0: their value is that share, also under Huber's loss.

    A standard deviation alone, which is the square root of the share, put the target beyond Huber's delta: 0.72 and 0.33 of it.
    """
    norm = ValueNorm.create(True)
    norm = jax.lax.fori_loop(0, before, lambda _, norm: norm.update(jnp.zeros(8)), norm)
    returns = jnp.arange(2000) < 2000 * share
    norm, _ = jax.lax.scan(lambda norm, x: (norm.update(returns.astype(jnp.float32)), None), norm, None, length=300)
    targets = norm.normalise(returns.astype(jnp.float32))
    grid = jnp.linspace(-1.0, 3.0, 8001)
    loss = jax.vmap(lambda value: jnp.mean(value_loss(value, value, targets, "huber", 10.0, 0.2, False)))(grid)
    np.testing.assert_allclose(norm.denormalise(grid[loss.argmin()]) / share, 1.0, atol=0.1)


def test_a_mean_goes_on_moving_after_very_many_updates():
    """The ten-millionth part of a step is less than a float32 shows beside 1e4; a plain sum would stay where it is."""
    moments = Moments(jnp.float32(1e9), jnp.array([1e4], jnp.float32), jnp.ones(1), jnp.zeros(1))
    move = lambda moments, _: (moments.update(moments.mean[None] + moments.rest + 1.0, jnp.ones(1, bool)), None)  # noqa: E731
    after = jax.lax.scan(move, moments, None, length=100_000)[0]
    np.testing.assert_allclose((after.mean - 1e4) + after.rest, 1e5 / 1e9, rtol=1e-2)


@pytest.mark.parametrize("algo", ["happo", *long("hatrpo")])
def test_rewards_of_any_scale_train_alike(algo):
    """Powers of two scale every number exactly, so the policies are the same bit for bit: from 1e-6 to 1e6."""
    loop = make_learner(config(algo, obs_norm="always"), Junk(jnp.float32(0))).learner
    state, traj = collected()

    @jax.jit
    def learnt(scale):
        """Of a rollout twice, so that the second time statistics of returns are there."""
        scaled = traj._replace(transitions=traj.transitions._replace(reward=traj.transitions.reward * scale))
        return jax.lax.scan(lambda state, _: (loop.learn(state, scaled)[0], None), state, None, length=2)[0].learnt

    found = [learnt(jnp.float32(scale)) for scale in (1.0, 2.0**-20, 2.0**20)]
    for other in found[1:]:
        assert leaves_equal(found[0].agents, other.agents)
        assert leaves_equal(found[0].critic.agent, other.critic.agent)
    assert not leaves_equal(found[0].agents.params, state.learnt.agents.params)


def test_rewards_with_a_large_offset_train_alike():
    """Episodes of one step, so that the offset says nothing of how long they are."""
    made = config("happo", num_steps=16, total_timesteps=1280, actor_lr=5e-3)

    @jax.jit
    def train(offset):
        class Climb(type(hamljax.make_env("game/climbing"))):
            def step(self, key, state, action):
                after, out = super().step(key, state, action)
                return after, out._replace(reward=out.reward + offset)

        loop = make_learner(made, Climb([[11, -30, 0], [-30, 7, 6], [0, 0, 5]])).learner
        start = loop.init(jax.random.key(0))
        end = jax.lax.scan(lambda state, _: (loop.update(state)[0], None), start, None, length=made.num_updates)[0]
        return start.learnt.agents.params, end.learnt.agents.params

    (start, end), (_, moved_end) = ([jax.tree.leaves(x) for x in train(offset)] for offset in (0.0, 1e4))
    moved = max(np.abs(np.asarray(x) - y).max() for x, y in zip(end, start, strict=True))
    apart = max(np.abs(np.asarray(x) - y).max() for x, y in zip(end, moved_end, strict=True))
    assert apart < 0.1 * moved


def test_episodes_have_keys_of_their_own_beyond_all_numbers():
    numbering, key = Numbering(6), jax.random.key(0)
    assert numbering.limit % 12 == 0 and numbering.limit + 4 * 6 < 2**31
    found, head = [], jnp.int32(numbering.limit - 30)
    for _ in range(12):
        found += [tuple(x) for x in np.asarray(jax.random.key_data(numbering.keys(key, head))).tolist()]
        key, head = numbering.begin_again(key, head + 6)
    assert len(set(found)) == 72 and head == 42
    limit = jnp.int32(numbering.limit)
    after, zero = numbering.begin_again(jax.random.key(0), limit)
    across = jax.random.key_data(numbering.keys(jax.random.key(0), limit - 3))[3:]
    assert zero == 0 and (across == jax.random.key_data(numbering.keys(after, zero))[:3]).all()


def test_a_vectorised_environment_goes_on_beyond_all_numbers():
    """Past the limit of numbers every episode still starts afresh, and none twice."""
    vec = VecEnv(hamljax.make_env(hamljax.configure("game/tracking", horizon=2)), 3)
    state, _ = vec.reset(jax.random.key(0))
    limit = vec.numbering.limit
    late = state._replace(pool=state.pool._replace(head=jnp.int32(limit - 3), tail=jnp.int32(limit)))

    def step(state, _):
        state, out = vec.step(state, jnp.zeros((3, 3, 3)))
        return state, (out.observation.world_state, out.truncated)

    _, (starts, ended) = jax.lax.scan(step, late, None, length=16)
    fresh = np.asarray(starts)[np.asarray(ended)]
    assert len(fresh) == 24 and len(np.unique(fresh, axis=0)) == 24


def test_seeds_side_by_side_simulate_hardly_more_resets_than_they_need():
    """1.1 for one seed; a pool that runs low alone had all pools pay for it, 9.7 for sixteen."""
    counted = []

    class Counted(type(hamljax.make_env("game/climbing"))):
        def reset(self, key):
            jax.debug.callback(lambda: counted.append(1))
            return super().reset(key)

        def step(self, key, state, action):
            state, out = super().step(key, state, action)
            return state, out._replace(terminated=jax.random.uniform(key) < 0.2)

    vec, seeds, steps = VecEnv(Counted([[1.0, 0.0], [0.0, 1.0]]), 8), 16, 100

    def play(key):
        def step(state, _):
            state, out = vec.step(state, jnp.zeros((8, 2), jnp.int32))
            return state, out.terminated.sum()

        return jax.lax.scan(step, vec.reset(key)[0], None, length=steps)[1].sum()

    ended = jax.block_until_ready(jax.jit(jax.vmap(play))(jax.random.split(jax.random.key(0), seeds)))
    jax.effects_barrier()
    assert len(counted) < 1.4 * int(ended.sum()) + seeds * 16


@pytest.mark.parametrize("algo, more, fastest", [
    ("happo", {}, 5), ("happo", {"critic_epochs": 9}, 9), ("hasac", {}, 8), ("hasac", {"gradient_steps": 32}, 32)])  # fmt: skip
def test_a_run_beyond_its_counters_is_refused(algo, more, fastest):
    longest = (2**31 - 1) // fastest * 32
    with pytest.raises(ConfigError, match=f"too large; up to {longest} can be counted"):
        make_learner(config(algo, total_timesteps=longest + 32, **more))
    make_learner(config(algo, total_timesteps=longest, **more))


# PRECISION AND MEMORY


@pytest.mark.parametrize(
    "algo, network, env",
    [("happo", "gru", "game/tracking"), ("hasac", "mlp", "game/random"), *long(("happo", "gru", "smax/3m"))],
)
def test_double_precision_is_no_obstacle(algo, network, env):
    made = config(algo, network, env=env, obs_norm="always", layer_norm=True)
    with jax.enable_x64(True):
        out = jax.eval_shape(make_train(made.replace(num_evals=2)), jax.random.key(0))
    assert {x.dtype for x in jax.tree.leaves(out["runner_state"].learnt.agents.params)} == {jnp.dtype("float32")}


def test_a_replay_gives_single_precision():
    steps = Transition(*(jnp.ones((6, 2)),) * 3, *(jnp.zeros((6, 2), bool),) * 2, jnp.ones((6, 2)))
    replay = Replay.create(jax.tree.map(lambda x: x[0], steps), 6).add(steps)
    with jax.enable_x64(True):
        sample = jax.eval_shape(lambda replay, key: replay.sample(key, 4, 3, 0.9), replay, jax.random.key(0))
    assert sample.reward.dtype == sample.discount.dtype == jnp.float32


def test_a_state_may_hold_keys():
    class Keys(Junk):
        def reset(self, key):
            state, seen = super().reset(key)
            return (*state, key), seen

        def step(self, key, state, action):
            after, out = super().step(key, state[:2], action)
            return (*after, key), out

    vec = VecEnv(Keys(jnp.float32(0)), 2)
    state, _ = jax.jit(vec.reset)(jax.random.key(0))
    vec.step(state, jnp.zeros((2, 2), jnp.int32))  # outside of any program


@pytest.mark.parametrize("env", ["game/tracking", *long("smax/27m_vs_30m")])
def test_a_rollout_holds_a_world_state_once(env):
    """An FP critic looks at it once per agent, but 27 copies of it need not be kept."""
    made = config("happo", env=env, critic="fp")
    loop = make_learner(made).learner
    _, rollout = jax.eval_shape(loop.collect, jax.eval_shape(loop.init, jax.random.key(0)))
    seen, final = rollout.transitions.observation, rollout.transitions.final
    assert memory.size_of(final)[1] < memory.size_of(seen)[1]
    assert final.world_state.shape == seen.world_state.shape
    ep = make_learner(made.replace(critic="ep")).learner
    _, rollout = jax.eval_shape(ep.collect, jax.eval_shape(ep.init, jax.random.key(0)))
    assert jax.tree.leaves(rollout.transitions.final) == [rollout.transitions.final.world_state]


def test_what_cannot_fit_is_refused_with_its_sizes(monkeypatch):
    learner = make_learner(config("happo", num_envs=64, num_steps=512, total_timesteps=64 * 512))
    for seeds in (1, 2):  # each has a rollout of its own
        monkeypatch.setattr(memory, "memory", lambda: 5 << 20)
        shapes = progress.progress_shapes(learner, seeds)
        if seeds == 1:
            memory.check_memory(learner, shapes)
        else:
            with pytest.raises(ConfigError, match="2 seed"):
                memory.check_memory(learner, shapes)
    monkeypatch.setattr(memory, "memory", lambda: 2 << 20)
    with pytest.raises(ConfigError, match=r"rollouts.*2 seed.*most of it is .* of 512 steps x 64 environments"):
        programs.make_programs(learner, 2, False)
    learner = make_learner(config("hasac", env="game/random", buffer_size=100_000))
    with pytest.raises(ConfigError, match="algo.buffer_size=100000 is too much of a replay, and [0-9]+ would fit"):
        programs.make_programs(learner, 1, False)
    with pytest.raises(ConfigError, match="needs 1.0 GiB by the compiler"):
        memory.check_programs(1 << 30)
