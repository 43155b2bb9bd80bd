"""The off-policy half: replay, targets, the sweep by the value of the joint action, and that the rows learn."""

import functools

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sizes import long

import hamljax
from hamljax import haml
from hamljax.algorithms.off_policy.replay import Replay, Sample, Transition
from hamljax.algorithms.table import resolve
from hamljax.envs.protocol import Environment, Observation, Step, Team
from hamljax.errors import ConfigError
from hamljax.nn.distributions import Categorical, Deterministic, SquashedGaussian
from hamljax.training.train import make_learner

OFF_POLICY = [name for name, row in hamljax.ALGORITHMS.items() if isinstance(row, hamljax.OffPolicyAlgorithm)]
SMALL = {
    "num_envs": 4,
    "num_steps": 8,
    "total_timesteps": 640,
    "learning_starts": 64,
    "buffer_size": 512,
    "batch_size": 16,
    "gradient_steps": 4,
    "hidden_sizes": (8,),
}


def loop(algo, env="game/tracking", **overrides):
    return make_learner(hamljax.config(algo, env, **{**SMALL, **overrides})).learner


def learnt_of(state):
    """What gradient steps improve, and their number."""
    return state.learnt, state.carried


def gradient_step(algorithm):
    """``step(learnt_of(state), sample, key)``, compiled."""
    return jax.jit(lambda learnt, sample, key: algorithm.step(algorithm, *learnt, sample, key))


def one(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


@functools.cache
def collected(algo="haddpg", env="game/tracking", **overrides):
    """A learner, its state after a rollout, the rollout, and a sample of its windows."""
    algorithm = loop(algo, env, **overrides)

    @jax.jit
    def begin(key):
        state, rollout = algorithm.collect(algorithm.init(key))
        sample = state.replay.add(rollout.transitions).sample(jax.random.key(1), 16, 2, 0.9)
        return state, rollout, sample

    return algorithm, *begin(jax.random.key(0))


def made_up(algorithm):
    """Something learnt, and that no gradient step has been made: compiled in less time than a learner's own beginning."""
    rng, shapes = np.random.default_rng(5), jax.eval_shape(algorithm.init, jax.random.key(0))
    learnt, count = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), (shapes.learnt, shapes.carried))
    actors, critics = (
        jax.tree.map(lambda x: rng.normal(0, 0.25, x.shape).astype(x.dtype), part.params)
        for part in (learnt.agents, learnt.critic)
    )
    return learnt._replace(
        agents=learnt.agents._replace(params=actors),
        critic=learnt.critic._replace(params=critics),
        targets=learnt.targets._replace(actors=learnt.targets.actors and actors, critic=critics),
    ), count


def same(before, after) -> bool:
    """Whether two trees hold the same numbers, bit for bit."""
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (before, after)), strict=True))


# REPLAY


def steps_of(reward, terminated, truncated, valid=None):
    """A rollout (T, E) whose observations are the numbers 0, 1, 2 ... of its steps, and whose finals are those plus a half."""
    time, envs = np.indices(np.shape(reward))
    seen = jnp.asarray(time + 100.0 * envs)
    return Transition(seen, seen, *map(jnp.asarray, (reward, terminated, truncated)), seen + 0.5, valid)


@pytest.mark.parametrize(
    "ends, length, discount",
    [
        ({}, 3, 0.125),
        ({1: "terminated"}, 2, 0.0),
        ({1: "truncated"}, 2, 0.25),
        ({2: "terminated"}, 3, 0.0),
        ({0: "truncated"}, 1, 0.5),
    ],
)
def test_n_step_windows_by_hand(ends, length, discount):
    """Rewards 1, 2, 4 at gamma = 1/2 are 1, 1 + 1, 1 + 1 + 1; what comes after an end does not count."""
    over = {kind: np.array([[ends.get(t) == kind] for t in range(4)]) for kind in ("terminated", "truncated")}
    steps = steps_of(np.array([[1.0], [2.0], [4.0], [8.0]]), **over)
    replay = Replay.create(one(steps, 0), 4).add(steps)
    window = replay.windows(jnp.array([0]), jnp.array([0]), 3, 0.5)
    assert window.reward == length
    assert window.discount == discount
    assert window.observation == 0 and window.final == length - 0.5
    over_for_good = replay.windows(jnp.array([0]), jnp.array([0]), 3, 0.5, "terminal")
    assert over_for_good.discount == (0.0 if ends else discount)


class PlainReplay:
    """The same in plain Python: a list of steps per environment, windows by walking."""

    def __init__(self, envs, capacity):
        self.lists, self.capacity = [[] for _ in range(envs)], capacity

    def add(self, steps):
        for t in range(len(steps.reward)):
            for env, kept in enumerate(self.lists):
                kept.append([True if x is None else np.asarray(x)[t, env] for x in steps])
                del kept[: -self.capacity]

    def window(self, first, env, n, gamma):
        """(what it begins with, reward, discount, what it ends with), or None where it begins with a step that was lost."""
        reward, factor, final = 0.0, 1.0, None
        for step in self.lists[env][first : first + n]:
            _, _, r, terminated, truncated, end, valid = step
            if not valid:
                break
            over, final, reward, factor = terminated, end, reward + factor * r, factor * gamma
            if terminated or truncated:
                break
        return None if final is None else (self.lists[env][first][0], reward, 0.0 if over else factor, final)


@pytest.mark.parametrize("losses", [0.0, 0.1])
def test_the_replay_equals_a_plain_python_one_over_random_episodes(losses, large):
    """Not yet full, just full and wrapped around many times; every window that there is, at every time."""
    rng, envs, capacity, count, rounds = np.random.default_rng(0), 3, 12, 4, 300 if large else 50
    plain = PlainReplay(envs, capacity)
    add, windows = jax.jit(Replay.add), jax.jit(Replay.windows, static_argnums=3)
    replay, checked, episodes = None, 0, 0
    for round in range(rounds):
        shape = (count, envs)
        terminated, truncated = rng.random(shape) < 0.15, rng.random(shape) < 0.15
        lost = rng.random(shape) < losses
        terminated, truncated = terminated & ~lost, truncated & ~terminated | lost
        valid = jnp.asarray(~lost) if losses else None
        steps = steps_of(rng.normal(size=shape), terminated, truncated, valid)
        steps = steps._replace(observation=steps.observation + 1000 * round, final=steps.final + 1000 * round)
        episodes += (terminated | truncated).sum()
        plain.add(steps)
        replay = add(replay or Replay.create(one(steps, 0), capacity), steps)
        filled, n = int(replay.filled), 1 + round % 4
        places = [(first, env) for first in range(filled - n + 1) for env in range(envs)]
        places += places[:1] * (capacity * envs - len(places))  # one shape, one compilation
        first, env = map(jnp.asarray, zip(*places, strict=True))
        found = windows(replay, first, env, n, 0.9)
        wanted = [plain.window(*place, n, 0.9) for place in places]
        counts = np.array([w is not None for w in wanted])
        assert (counts.all() and found.weight is None) if not losses else np.array_equal(found.weight, counts)
        found = (found.observation, found.reward, found.discount, found.final)
        for here, there in zip(found, zip(*[w for w in wanted if w], strict=True), strict=True):
            np.testing.assert_allclose(here[counts], there, rtol=1e-5, atol=1e-6)
        checked += counts.sum()
    assert episodes > 3.3 * rounds and checked > 30 * rounds


def test_samples_are_windows_of_the_ring_uniformly():
    """A ring of 6 steps that has wrapped around: every start of a whole window comes up equally often, and no other."""
    steps = steps_of(np.zeros((4, 2)), np.zeros((4, 2), bool), np.zeros((4, 2), bool))
    replay = Replay.create(one(steps, 0), 8).add(steps).add(steps._replace(observation=steps.observation + 4))
    replay = replay.add(steps._replace(observation=steps.observation + 8))  # holds the steps 4 to 11
    sample = jax.jit(lambda key: replay.sample(key, 10_000, 3, 0.9))(jax.random.key(0))
    starts, counts = np.unique(np.asarray(sample.observation), return_counts=True)
    np.testing.assert_array_equal(starts, [*range(4, 10), *range(104, 110)])
    assert counts.min() > 0.8 * 10_000 / 12


@pytest.fixture(scope="module")
def three_updates():
    """The states of a run from its start on, and the metrics of its updates: the first two collect 32 steps each to warm up."""
    algorithm = loop("haddpg", hamljax.configure("game/tracking", horizon=5), learning_starts=60)
    states, metrics, update = [jax.jit(algorithm.init)(jax.random.key(0))], [], jax.jit(algorithm.update)
    for _ in range(3):
        state, said = update(states[-1])
        states, metrics = [*states, state], [*metrics, said]
    return states, metrics


def test_truncation_keeps_the_final_state_in_training(three_updates):
    """Through the real loop: where an episode was cut off, its window ends in the true next state, not in a fresh one."""
    state = three_updates[0][-1]
    steps = jax.tree.map(lambda x: np.asarray(x)[: int(state.replay.filled)], state.replay.steps)
    assert steps.truncated.sum() > 10
    time_left = steps.final.world_state[..., -1]
    np.testing.assert_allclose(time_left[steps.truncated], 0, atol=1e-6)
    going_on = ~steps.truncated[:-1]
    np.testing.assert_array_equal(steps.final.obs[:-1][going_on], steps.observation.obs[1:][going_on])
    cut = steps.truncated[:-1]
    assert not np.allclose(steps.final.obs[:-1][cut], steps.observation.obs[1:][cut])


# DISTRIBUTIONS


def test_squashed_log_probabilities_equal_distrax():
    logits = 0.4 * jax.random.normal(jax.random.key(0), (64, 2, 3))
    action, log_prob = SquashedGaussian.sample_and_log_prob(jax.random.key(1), logits, jnp.ones(3, bool))
    reference = distrax.Transformed(distrax.Normal(logits[:, 0], jnp.exp(logits[:, 1])), distrax.Tanh())
    np.testing.assert_allclose(log_prob, reference.log_prob(action).sum(-1), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        SquashedGaussian.log_prob(logits, jnp.ones(3, bool), action), log_prob, rtol=1e-2, atol=1e-2
    )


def test_actions_at_the_edge_have_finite_log_probabilities_and_gradients():
    logits, everything = jnp.stack([jnp.full(3, 30.0), jnp.zeros(3)]), jnp.ones(3, bool)
    assert jnp.isfinite(SquashedGaussian.log_prob(logits, everything, jnp.array([1.0, -1.0, 0.5])))

    def cost(logits):
        return SquashedGaussian.sample_and_log_prob(jax.random.key(0), logits, everything)[1]

    assert jnp.isfinite(cost(logits)) and jnp.isfinite(jax.grad(cost)(logits)).all()


@pytest.mark.parametrize("kind", [Categorical, SquashedGaussian, Deterministic(noise=0.5)])
def test_what_does_not_exist_is_never_proposed(kind):
    avail = jnp.array([[True, False, True, True], [False, True, False, False]])
    shape = {"logits": (2, 4), "mean": (2, 4), "squashed": (2, 2, 4)}[kind.head]
    logits = 5 * jax.random.normal(jax.random.key(0), (1000, *shape))
    action, log_prob = kind.sample_and_log_prob(jax.random.key(1), logits, jnp.broadcast_to(avail, (1000, 2, 4)))
    sampled = kind.sample(jax.random.key(2), logits, avail)
    assert not action[:, ~avail].any()
    assert not kind.encode(sampled, jnp.broadcast_to(avail, (1000, 2, 4)))[:, ~avail].any()
    assert not kind.encode(kind.uniform(jax.random.key(3), avail), avail)[~avail].any()
    if kind is Categorical:
        np.testing.assert_array_equal(jnp.sort(action, -1)[..., -1], 1)  # one-hot, though its gradient is soft
        np.testing.assert_allclose(log_prob[:, 1], 0, atol=1e-6)  # a single legal action


def test_a_discrete_proposal_is_hard_forwards_and_soft_backwards():
    """The action of the largest of logits plus Gumbel noise; its slope is that of their softmax, s (v - s v)."""
    key, logits, worth = jax.random.key(4), jnp.array([0.3, -0.2, 0.9, 0.0]), jnp.array([1.0, -2.0, 0.5, 7.0])
    avail = jnp.array([True, True, True, False])
    noisy = np.asarray(logits + jax.random.gumbel(key, (4,)), np.float64)[:3]
    soft = np.exp(noisy) / np.exp(noisy).sum()
    gain, slope = jax.value_and_grad(lambda x: worth @ Categorical.sample_and_log_prob(key, x, avail)[0])(logits)
    np.testing.assert_allclose(gain, worth[noisy.argmax()], rtol=1e-6)
    np.testing.assert_allclose(slope[:3], soft * (worth[:3] - soft @ worth[:3]), rtol=1e-4)
    assert slope[3] == 0


def test_target_entropies():
    avail = jnp.array([[True, True, True, False], [True, False, False, False]])
    np.testing.assert_allclose(Categorical.target_entropy(avail, 0.98), [0.98 * np.log(3), 0], rtol=1e-6)
    np.testing.assert_array_equal(SquashedGaussian.target_entropy(avail, 0.98), [-3, -1])


# ONE GRADIENT STEP, AGAINST PLAIN NUMPY


class Pair(Environment):
    """Two agents (or one) with two-dimensional actions in [-2, 2]; only its sizes matter here."""

    def __init__(self, agents: int, discrete: bool = False):
        self.team = Team((3,) * agents, (2,) * agents, 4, discrete, -2.0, 2.0)
        self.max_episode_length = 5

    def reset(self, key):
        return jnp.zeros((), jnp.int32), self._observe(key)

    def step(self, key, state, action):
        state = state + 1
        return state, Step(self._observe(key), jnp.sum(action), state > 9, state >= 5, {})

    def _observe(self, key):
        n = self.team.num_agents
        obs = jax.random.normal(key, (n, 3))
        return Observation(obs, jnp.sum(obs) * jnp.arange(4.0), jnp.ones((n, 2), bool), jnp.ones(n, bool))


def pair_loop(algo, agents, **overrides):
    made = hamljax.config(algo, "game/tracking", **{**SMALL, "hidden_sizes": (5,), **overrides})
    return make_learner(made, Pair(agents)).learner


def a_sample(algorithm, gaps=False, size=16):
    """Made-up windows, and learnt parameters away from their targets. ``gaps``: lost steps and dead agents among them."""
    learnt, count = made_up(algorithm)
    rng, n = np.random.default_rng(0), algorithm.env.team.num_agents

    def numbers(*shape):
        return rng.normal(size=shape).astype(np.float32)

    def observation():
        alive = rng.random((size, n)) < (0.7 if gaps else 1)
        return Observation(numbers(size, n, 3), numbers(size, 4), np.ones((size, n, 2), bool), alive)

    moved = jax.tree.map(lambda x: x + np.float32(0.02), (learnt.agents.params, learnt.critic.params))
    log_alpha = np.log(0.1 * (2.0 + np.arange(len(learnt.agents.log_alpha)))).astype(np.float32)
    agents = learnt.agents._replace(params=moved[0], log_alpha=log_alpha)
    learnt = learnt._replace(agents=agents, critic=learnt.critic._replace(params=moved[1]))
    action = rng.uniform(-1, 1, (size, n, 2)).astype(np.float32)
    reward, discount = (rng.uniform(0, 1, size).astype(np.float32) for _ in range(2))
    weight = rng.random(size) < 0.7 if gaps else None
    return (learnt, count), Sample(observation(), action, reward, discount, observation(), weight)


class Net:
    """Linear, relu, linear in float64, forwards and backwards by hand. ``params`` as flax has them, one network's."""

    def __init__(self, params):
        params = params["params"]
        body, heads = params["Body_0"]["Dense_0"], [params[k] for k in ("head", "log_std_head") if k in params]
        self.weights = [np.asarray(x, np.float64) for x in (body["kernel"], body["bias"])]
        self.weights += [np.asarray(x, np.float64) for head in heads for x in (head["kernel"], head["bias"])]

    def __call__(self, x):
        self.x = x
        self.hidden = np.maximum(x @ self.weights[0] + self.weights[1], 0)
        return [self.hidden @ k + b for k, b in zip(self.weights[2::2], self.weights[3::2], strict=True)]

    def back(self, *gradients):
        """Gradients of the weights and of the input, from those of the outputs."""
        of_hidden = sum(g @ k.T for g, k in zip(gradients, self.weights[2::2], strict=True)) * (self.hidden > 0)
        found = [self.x.T @ of_hidden, of_hidden.sum(0)]
        for g in gradients:
            found += [self.hidden.T @ g, g.sum(0)]
        return found, of_hidden @ self.weights[0].T


# Adam's epsilon: with less, its first step is hardly more than the sign of a gradient, and rounding decides.
SMOOTH = 1e-2


def adam(weights, gradients, lr, eps=SMOOTH, largest=10.0):
    """The first step of Adam behind a clip of the global norm."""
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    gradients = [g * min(1, largest / norm) for g in gradients]
    return [w - lr * g / (np.abs(g) + eps) for w, g in zip(weights, gradients, strict=True)]


class ByHand:
    """One gradient step of any off-policy row in numpy. ``noise(place, agent)`` is what was drawn."""

    def __init__(self, algorithm, learnt, sample, noise):
        self.row, self.algo, self.noise = algorithm.row, algorithm.config.algo, noise
        self.stochastic = self.row.actor == "stochastic"
        agents, critic, targets, _ = learnt[0]
        self.n = algorithm.env.team.num_agents
        self.groups = algorithm.policy.layout.groups

        def nets(params, count):
            return [Net(one(params, i)) for i in range(count)]

        policies = len(self.groups)
        self.actors, self.critics = nets(agents.params, policies), nets(critic.params, self.row.critics)
        self.target_actors = nets(agents.params if targets.actors is None else targets.actors, policies)
        self.target_critics = nets(targets.critic, self.row.critics)
        self.alpha = np.exp(np.asarray(agents.log_alpha, np.float64))
        self.sample = jax.tree.map(lambda x: np.asarray(x, np.float64), sample)
        counts = np.ones(len(sample.reward)) if sample.weight is None else self.sample.weight
        self.counts, self.present = counts / counts.sum(), self.sample.observation.alive * counts[:, None]

    def policy(self, i):
        """Which policy plays agent i."""
        return next(p for p, group in enumerate(self.groups) if i in group)

    def act(self, nets, i, obs, noise):
        """Agent i's actions, their log-probabilities, and what is needed to go back."""
        net, obs = nets[self.policy(i)], obs[:, i]
        if (largest := max(map(len, self.groups))) > 1:
            number = self.groups[self.policy(i)].index(i)
            obs = np.concatenate([obs, np.tile(np.eye(largest)[number], (len(obs), 1))], -1)
        if not self.stochastic:
            action = np.tanh(net(obs)[0])
            return action, np.zeros(len(obs)), None
        mean, log_std = net(obs)
        before = mean + np.exp(log_std) * noise
        action = np.tanh(before)
        log_prob = -0.5 * noise**2 - log_std - 0.5 * np.log(2 * np.pi) - np.log(1 - action**2)
        return action, log_prob.sum(-1), np.exp(log_std) * noise

    def target(self):
        final, n = self.sample.final, self.n
        acted = [self.act(self.target_actors, i, final.obs, self.noise("next", i)) for i in range(n)]
        joint = np.stack([a for a, *_ in acted], 1)
        if self.row.target_noise:
            limit = self.algo.target_noise_clip
            noise = np.clip(self.row.target_noise * self.noise("smooth", None), -limit, limit)
            joint = np.clip(joint + noise, -1, 1)
        inputs = np.concatenate([final.world_state, joint.reshape(len(joint), -1)], -1)
        value = np.min([critic(inputs)[0][:, 0] for critic in self.target_critics], axis=0)
        if self.stochastic:  # the dead have no say
            value -= sum(self.alpha[self.policy(i)] * acted[i][1] * final.alive[:, i] for i in range(n))
        return self.sample.reward + self.sample.discount * value

    def fit_critics(self):
        target, state = self.target(), self.sample.observation.world_state
        inputs = np.concatenate([state, self.sample.action.reshape(len(state), -1)], -1)
        gradients = []
        for critic in self.critics:
            error = critic(inputs)[0][:, 0] - target
            gradients += critic.back((2 * error * self.counts)[:, None])[0]
        flat = adam([w for c in self.critics for w in c.weights], gradients, self.algo.critic_lr)
        size = len(self.critics[0].weights)
        for i, critic in enumerate(self.critics):
            critic.weights = flat[i * size : (i + 1) * size]

    def slope(self, i, joint, share):
        """Of the value of ``joint`` with agent i's own new action in it, each sample counting for ``share`` (B,)."""
        state, share = self.sample.observation.world_state, share[:, None]
        action, _, spread = self.act(self.actors, i, self.sample.observation.obs, self.noise("own", i))
        joint = joint.copy()
        joint[:, i] = action
        inputs = np.concatenate([state, joint.reshape(len(joint), -1)], -1)
        judges = self.critics if self.stochastic else self.critics[:1]
        values = np.array([critic(inputs)[0][:, 0] for critic in judges])
        by_input = np.zeros_like(inputs)
        for k, critic in enumerate(judges):
            critic(inputs)
            by_input += critic.back((values.argmin(0) == k)[:, None] * share)[1]
        width = state.shape[1]
        by_action = by_input[:, width + 2 * i : width + 2 * i + 2] * (1 - action**2)
        if not self.stochastic:
            return self.actors[self.policy(i)].back(by_action)[0]
        # log pi = ... - log_std - log(1 - tanh(before)^2): its slope in `before` is 2 tanh(before).
        scale = self.alpha[self.policy(i)] * share
        by_before = by_action - scale * 2 * action
        return self.actors[self.policy(i)].back(by_before, by_before * spread + scale)[0]

    def climb(self, members, joint):
        """One step of the policy of ``members``; returns their actions afterwards."""
        net, present = self.actors[self.policy(members[0])], self.present[:, members]
        slopes = [self.slope(i, joint, self.present[:, i] / present.sum()) for i in members]
        net.weights = adam(net.weights, [-sum(g) for g in zip(*slopes, strict=True)], self.algo.actor_lr)
        seen = self.sample.observation.obs
        return np.stack([self.act(self.actors, i, seen, self.noise("after", i))[0] for i in members], 1)

    def step(self, order):
        self.fit_critics()
        joint, seen = self.sample.action.copy(), self.sample.observation.obs
        if self.algo.others == "policy":
            joint = np.stack([self.act(self.actors, i, seen, self.noise("others", i))[0] for i in range(self.n)], 1)
        for members in [self.groups[policy] for policy in order]:
            new = self.climb(members, joint)
            if self.row.coordination == "sequential":
                joint[:, members] = new

    def log_alpha(self, policy):
        """A temperature after its step: the first one of Adam."""
        members = [i for i in range(self.n) if self.policy(i) == policy]
        seen, present = self.sample.observation.obs, self.present[:, members]
        log_prob = np.stack([self.act(self.actors, i, seen, self.noise("after", i))[1] for i in members], 1)
        surplus = ((-log_prob - -2) * present).sum() / present.sum()
        return np.log(self.alpha[policy]) - self.algo.alpha_lr * surplus / (abs(surplus) + SMOOTH)


def drawn(algorithm, sample, key):
    """The noise that one gradient step draws, as ``ByHand`` asks for it, and the order of its sweep."""
    target_key, others_key, order_key, policy_key = jax.random.split(key, 4)
    next_key, smooth_key = jax.random.split(target_key)
    shape, groups = sample.action.shape, algorithm.policy.layout.groups
    policies, largest = len(groups), max(map(len, groups))
    keys = jax.random.split(policy_key, (policies, 2))
    places = {
        "next": jax.random.split(next_key, policies),
        "others": jax.random.split(others_key, policies),
        "own": keys[:, 0],
        "after": keys[:, 1],
    }

    def noise(place, i):
        if place == "smooth":
            return np.asarray(jax.random.normal(smooth_key, shape), np.float64)
        policy, number = next((p, group.index(i)) for p, group in enumerate(groups) if i in group)
        ones = jnp.ones((shape[0] * largest, 2))  # the agents of one policy are folded into the batch
        found = distrax.Normal(0 * ones, ones).sample(seed=places[place][policy])
        return np.asarray(found, np.float64).reshape(shape[0], -1, 2)[:, number]

    return noise, np.asarray(jax.random.permutation(order_key, policies))


def close(net, params, what):
    for mine, theirs in zip(net.weights, Net(params).weights, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-5, err_msg=what)


def approaches(before, net, params, what):
    """That a target came a quarter of the way from where it was to what it follows."""
    for old, new, theirs in zip(before, net.weights, Net(params).weights, strict=True):
        np.testing.assert_allclose(0.75 * old + 0.25 * new, theirs, atol=2e-5, err_msg=what)


STEPS = [(f"{team}{kind}", agents, {}) for team in ("ha", "ma") for kind in ("ddpg", "td3", "sac") for agents in (1, 3)]
POLICY, PAIR = {"others": "policy"}, {"sharing": ((0, 2), (1,))}
STEPS += [("haddpg", 3, POLICY), ("masac", 3, POLICY), ("matd3_s", 3, {}), ("masac_s", 3, {})]
STEPS += [("hatd3", 3, PAIR), ("hasac", 3, PAIR), ("masac", 3, PAIR)]
FEW = [
    ("hatd3", 3, {}),
    ("masac", 3, POLICY),
    ("hasac", 3, PAIR),
]  # each actor, coordination, sharing


@pytest.mark.parametrize("algo, agents, more", FEW + long(*(case for case in STEPS if case not in FEW)))
def test_a_gradient_step_equals_plain_numpy(algo, agents, more):
    """Critics, policies in their order, temperatures and targets; lost steps and dead agents do not count.

    One agent alone is DDPG, TD3 and SAC themselves, and then both rows equal the same numbers.
    """
    rates = {"actor_lr": 1e-2, "critic_lr": 1e-2, "alpha_lr": 1.0, "tau": 0.25, "adam_eps": SMOOTH}
    algorithm = pair_loop(algo, agents, policy_delay=1, target_noise_clip=0.15, **more, **rates)
    learnt, sample = a_sample(algorithm, gaps=agents > 1)
    key = jax.random.key(3)
    noise, order = drawn(algorithm, sample, key)
    assert len(order) < 3 or order.tolist() == [1, 2, 0]
    hand = ByHand(algorithm, learnt, sample, noise)
    before = [net.weights for net in hand.target_critics + hand.target_actors]
    hand.step(order)
    after, _ = gradient_step(algorithm)(learnt, sample, key)
    targets = after[0].targets
    for i, critic in enumerate(hand.critics):
        close(critic, one(after[0].critic.params, i), f"critic {i}")
        approaches(before[i], critic, one(targets.critic, i), f"target critic {i}")
    for i, actor in enumerate(hand.actors):
        close(actor, one(after[0].agents.params, i), f"actor {i}")
        if hand.stochastic:
            np.testing.assert_allclose(after[0].agents.log_alpha[i], hand.log_alpha(i), atol=2e-5)
        else:
            approaches(before[len(hand.critics) + i], actor, one(targets.actors, i), f"target actor {i}")
    assert hand.stochastic == (targets.actors is None)


def test_a_temperature_of_ones_own_stays():
    algorithm = pair_loop("hasac", 2, auto_alpha=False, alpha=0.3)
    learnt, sample = a_sample(algorithm)
    after, _ = gradient_step(algorithm)(learnt, sample, jax.random.key(0))
    assert same(learnt[0].agents.log_alpha, after[0].agents.log_alpha)
    assert not same(learnt[0].agents.params, after[0].agents.params)


@pytest.mark.parametrize("env", ["game/tracking", *long("game/climbing")])
def test_a_drift_and_a_limit_hold_a_stochastic_policy_back(env):
    """Of eight mini-epochs on one sample: the KL to where it began is smaller with a price, and within the ball with a limit."""

    _, state, _, sample = collected("masac", env)
    views = collected("masac", env)[0].sweep.views(sample.observation)

    def divergences(sweep, new, old, view):
        """Of a policy: the mean KL, both KLs as the sweep has them, and both as the distribution has them."""
        found, logits = sweep.divergence(old, new, view), (sweep.logits(old, view), sweep.logits(new, view))
        wanted = [sweep.policy.distribution.kl(*pair, view.avail) for pair in (logits, logits[::-1])]
        return found.mean(found.kl), (found.kl, found.reverse_kl), wanted

    def mover(**more):
        """How far policies move with a price and a limit, which are no part of the program."""
        algorithm, before = loop("masac", env, update_epochs=8, actor_lr=1e-2, **more), state.learnt.agents.params

        @jax.jit
        def step(kl_coef, max_kl):
            learner = algorithm.replace(config=algorithm.config.replace(kl_coef=kl_coef, max_kl=max_kl))
            (after, _), _ = learner.step(learner, *learnt_of(state), sample, jax.random.key(2))
            return jax.vmap(functools.partial(divergences, learner.sweep))(after.agents.params, before, views)

        def moved(kl_coef, max_kl):
            kl, found, wanted = step(kl_coef, max_kl)
            for here, there in zip(found, wanted, strict=True):  # which is which
                np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-6)
            return np.asarray(kl)

        return moved

    moved = mover(drift="reverse_kl", neighbourhood="kl_stop")
    free = moved(0.0, 1e9)
    assert (moved(50.0, 1e9) < 0.7 * free).all()
    ball = float(free.min()) / 4
    held = moved(0.0, ball)
    assert (held <= ball * 1.001).all() and (held > 0).all()
    if env == "game/climbing":  # enough of one
        plain = mover()
        np.testing.assert_allclose(plain(0.0, 1e9), free, rtol=1e-4)
        assert np.array_equal(plain(50.0, 1e-9), plain(0.0, 1e9))  # nothing asks for them


def test_the_divergence_of_squashed_gaussians_is_that_of_the_gaussians():
    first, second = (0.5 * jax.random.normal(jax.random.key(i), (32, 2, 3)) for i in (0, 1))
    found = SquashedGaussian.kl(first, second, jnp.array([True, True, False]))
    (m, s), (n, t) = ((np.asarray(x)[:, 0, :2], np.asarray(x)[:, 1, :2]) for x in (first, second))
    wanted = t - s + (np.exp(2 * s) + (m - n) ** 2) / (2 * np.exp(2 * t)) - 0.5
    np.testing.assert_allclose(found, wanted.sum(-1), rtol=1e-4)


@functools.cache
def pairs():
    """HADDPG on ``Pair``, its state after a rollout, and the rollout."""
    settings = {"obs_norm": "always", "gradient_steps": 1, "learning_starts": 8, "n_step": 3, "gamma": 0.5}
    algorithm = pair_loop("haddpg", 2, adam_eps=SMOOTH, **settings)
    return algorithm, *jax.jit(lambda key: algorithm.collect(algorithm.init(key)))(jax.random.key(0))


def test_the_environment_gets_actions_in_its_own_bounds():
    """Policies and replay have them in [-1, 1]; the reward of ``Pair`` is the sum of what it got, within [-2, 2]."""
    steps = jax.tree.map(np.asarray, pairs()[2].transitions)
    assert np.abs(steps.action).max() <= 1
    np.testing.assert_allclose(steps.reward, 2 * steps.action.sum((-1, -2)), rtol=1e-5, atol=1e-5)


def test_an_update_learns_from_the_normalised_windows_of_the_debug_batch():
    """Of the length and the truncation that the configuration names; observations and final ones normalised alike."""
    algorithm, state, rollout = pairs()
    wide = rollout.transitions
    wide = wide._replace(
        **{k: getattr(wide, k)._replace(obs=5 * getattr(wide, k).obs + 3) for k in ("observation", "final")}
    )
    rollout = rollout._replace(transitions=wide)
    after, _ = jax.jit(algorithm.learn)(state, rollout)
    key, learn_key = jax.random.split(state.rollout.key)
    sample_key, step_key = jax.random.split(jax.random.split(learn_key, 1)[0])
    sample = jax.jit(lambda replay, steps: replay.add(steps).sample(sample_key, 16, 3, 0.5))(
        state.replay, rollout.transitions
    )
    obs, world = (np.asarray(getattr(rollout.transitions.observation, k)) for k in ("obs", "world_state"))

    def normal(seen):
        pairs = [(seen.obs, obs), (seen.world_state, world)]
        found = [(x - of.mean((0, 1))) / np.sqrt(np.maximum(of.var((0, 1)), 1e-4)) for x, of in pairs]
        return seen._replace(obs=found[0], world_state=found[1])

    sample = sample._replace(observation=normal(sample.observation), final=normal(sample.final))
    wanted, _ = gradient_step(algorithm)(learnt_of(state), sample, step_key)
    for name in ("agents", "critic"):
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, atol=1e-4),
            getattr(wanted[0], name).params,
            getattr(after.learnt, name).params,
        )


@pytest.mark.parametrize("truncation, cut", [("terminal", {0.0}), *long(("bootstrap", {0.5, 0.25}))])
def test_a_debug_batch_has_windows_of_the_length_and_the_truncation_of_the_run(truncation, cut):
    """Episodes of ``Pair`` are cut off after 5 steps: windows of 3 that reach there are shorter, or worth nothing beyond."""
    algorithm = pair_loop("haddpg", 2, n_step=3, gamma=0.5, truncation=truncation, obs_norm="always")
    sample = jax.jit(algorithm.debug_batch)(pairs()[1]).batch
    assert sample.reward.shape == (4, 16)  # gradient steps, samples
    assert set(np.unique(sample.discount).tolist()) == {0.125} | cut


# THE SWEEP


@pytest.mark.parametrize("algo", ["haddpg", "maddpg"])
def test_each_agent_improves_against_exactly_the_actions_it_should(algo):
    """On Q = -(sum of all actions - 1)^2: new actions of those before it, its own, and the old ones of the rest."""
    policies = loop(algo, actor_lr=1e-2, order="fixed").sweep
    _, state, rollout, _ = collected()
    observation = jax.tree.map(lambda x: x[0], rollout.transitions.observation)
    joint = rollout.transitions.action[0]

    def value(joint, times):
        return -((jnp.sum(joint, axis=(1, 2)) - 1) ** 2)

    sweep = jax.jit(lambda *arguments: policies.improve(state.learnt.agents, value, *arguments)[0])
    swept = sweep(observation, joint, jax.random.key(1), jax.random.key(2))

    @jax.jit
    def by_hand(learner, view, known, i):
        """Parameters after a step of agent i, and the joint actions with its new one."""

        def gain(params):
            return jnp.mean(value(known.at[:, i].set(policies.sample_and_log_prob(params, view, None)[0]), 1))

        gradient = jax.grad(lambda params: -gain(params))(learner.params)
        updates, _ = policies.optimiser.update(gradient, learner.opt_state, learner.params)
        wanted = optax.apply_updates(learner.params, updates)
        return wanted, known.at[:, i].set(policies.sample_and_log_prob(wanted, view, None)[0])

    known, views = joint, jax.tree.map(np.asarray, policies.views(observation))
    agents = jax.tree.map(np.asarray, state.learnt.agents)
    for i in range(3):
        wanted, after = by_hand(one(agents, i), one(views, i), known, i)
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), wanted, one(swept.params, i))
        known = after if algo == "haddpg" else known


def test_sequential_ascent_settles_where_simultaneous_ascent_diverges():
    """Q(a) = -(a_1 + ... + a_6 - 1)^2 / 2: a step of 1/2 is stable for one agent and 3/2 too long for six at once.

    The continuous sibling of Proposition 2: everybody improves by itself, and all together overshoot, ever further.
    """

    def update(action, joint, i):
        action = action - 0.5 * (jnp.sum(joint) - 1)  # the gradient of Q in the own action
        return action, joint.at[i].set(action), jnp.sum(joint)

    def play(sweep):
        actions = jnp.zeros(6)
        for _ in range(20):
            actions, _ = sweep(update, actions, actions, lambda visited, *_: visited.sum())
        return abs(float(jnp.sum(actions)) - 1)

    assert play(haml.sequential) < 1e-6
    assert play(haml.simultaneous) > 1e4


# INVARIANCES


@pytest.fixture(scope="module", params=["hatd3-game/tracking", *long("hasac-game/climbing", "masac_s-game/tracking")])
def side_by_side(request):
    """A learner, the first states of two seeds, and the program that does three updates of states side by side."""
    settings = {**SMALL, "adam_eps": SMOOTH, "buffer_size": 64_000}  # so that roundings do not grow
    learner = make_learner(hamljax.config(*request.param.split("-"), **settings))
    states = jax.jit(jax.vmap(learner.init))(jax.random.split(jax.random.key(3), 2))
    run = jax.jit(jax.vmap(lambda state: learner.run_updates(state, 3, 3)), donate_argnums=0)
    return learner, states, run.lower(states).compile()


def test_no_step_copies_the_replay(side_by_side):
    """A large replay needs hardly any temporary memory, also with seeds side by side."""
    _, states, run = side_by_side
    found, replay = run.memory_analysis(), sum(x.nbytes for x in jax.tree.leaves(states.replay))
    assert found.alias_size_in_bytes >= replay
    assert found.temp_size_in_bytes < 0.02 * replay


def test_seeds_side_by_side_equal_single_runs_and_share_no_replay(side_by_side):
    learner, states, run = side_by_side
    alone, _ = jax.jit(lambda state: learner.run_updates(state, 3, 3))(one(states, 1))
    together, _ = run(jax.tree.map(jnp.copy, states))
    of_second = one(together, 1)
    for here, there in zip(*((x.learnt, x.replay, x.rollout.observation) for x in (of_second, alone)), strict=True):
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-4), here, there)
    assert alone.carried == 8
    rewards = together.replay.steps.reward
    assert not np.allclose(rewards[0], rewards[1])


EXTRA = 2


def widened(x, real: int):
    """Arrays whose last axis has the size ``real``, with padding behind it."""
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, EXTRA)]) if x.shape[-1] == real else x


def test_widening_the_padding_changes_no_gradient_step():
    """Actors, critic and targets of HADDPG, with normalised inputs: what is real moves as before, what is padding not at all."""

    class WideTeam(Team):
        obs_size = property(lambda self: max(self.obs_sizes) + EXTRA)
        action_size = property(lambda self: max(self.action_sizes) + EXTRA)

    def algorithm(env):
        settings = {**SMALL, "input_norm": True, "actor_lr": 1e-2, "critic_lr": 1e-2, "adam_eps": SMOOTH}
        return make_learner(hamljax.config("haddpg", "game/tracking", **settings), env).learner

    env = hamljax.make_env("game/tracking")
    narrow, team = algorithm(env), env.team
    (learnt, count), sample = made_up(narrow), jax.tree.map(np.asarray, collected()[3])
    wider = hamljax.make_env("game/tracking")
    wider.team = WideTeam(team.obs_sizes, team.action_sizes, team.world_state_size, discrete=False)
    wide = algorithm(wider)
    wide_learnt, _ = made_up(wide)
    of_obs, of_action = (functools.partial(widened, real=size) for size in (team.obs_size, team.action_size))

    def see(seen):
        return seen._replace(obs=of_obs(seen.obs), avail_actions=of_action(seen.avail_actions))

    wide_sample = sample._replace(
        observation=see(sample.observation), final=see(sample.final), action=of_action(sample.action)
    )
    joint = np.arange(3)[:, None] * (team.action_size + EXTRA) + np.arange(team.action_size)
    rows = {"actor": np.arange(team.obs_size), "critic": np.append(np.arange(7), 7 + joint.ravel())}

    def places(which, small, large):
        def find(path, x, y):
            axes = [
                np.arange(n) if n == m or "head" in str(path) else rows[which]
                for n, m in zip(x.shape, y.shape, strict=True)
            ]
            return np.ix_(*axes)

        return jax.tree.map_with_path(find, small, large)

    actor = places("actor", learnt.agents.params, wide_learnt.agents.params)
    critic = places("critic", learnt.critic.params, wide_learnt.critic.params)

    def embed(small, large, where):
        def put(x, y, place):
            found = y.copy()
            found[place] = x
            return found

        return jax.tree.map(put, small, large, where)

    actors = embed(learnt.agents.params, wide_learnt.agents.params, actor)
    critics = embed(learnt.critic.params, wide_learnt.critic.params, critic)
    wide_learnt = wide_learnt._replace(
        agents=wide_learnt.agents._replace(params=actors),
        critic=wide_learnt.critic._replace(params=critics),
        targets=wide_learnt.targets._replace(actors=actors, critic=critics),
    )
    after, _ = gradient_step(narrow)((learnt, count), sample, jax.random.key(2))
    wide_after, _ = gradient_step(wide)((wide_learnt, count), wide_sample, jax.random.key(2))

    def check(x, y, before, place):
        x, y = np.asarray(x), np.asarray(y)
        np.testing.assert_allclose(x, y[place], atol=1e-5)
        padding = np.ones(y.shape, bool)
        padding[place] = False
        np.testing.assert_array_equal(y[padding], before[padding])

    jax.tree.map(check, after[0].agents.params, wide_after[0].agents.params, actors, actor)
    jax.tree.map(check, after[0].critic.params, wide_after[0].critic.params, critics, critic)
    assert not same(after[0].agents.params, learnt.agents.params)


def test_warm_up_is_random_and_learns_nothing(three_updates):
    states, metrics = three_updates
    changed, spread = [], []
    for before, state, said in zip(states, states[1:], metrics, strict=False):
        changed.append(not same(before.learnt.agents.params, state.learnt.agents.params))
        last = int(state.replay.added)
        spread.append(np.asarray(state.replay.steps.action)[last - 8 : last, :, 2].std())
        assert np.isnan(said["train/critic_loss"]) == (not changed[-1])
    assert changed == [False, True, True]
    assert min(spread[:2]) > 0.5 > 3 * spread[2]  # uniform: 0.58; then tanh of a small number and noise of 0.1
    assert int(states[-1].carried) == 8 and int(states[0].carried) == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"buffer_size": 64, "learning_starts": 128, "n_step": 15},
        *long({"buffer_size": 64, "learning_starts": 128}, {"buffer_size": 96, "n_step": 15}),
    ],
)
def test_a_run_that_is_accepted_learns(settings):
    """However the replay's size, the warm-up and the window relate."""
    learner = make_learner(hamljax.config("haddpg", "game/tracking", **{**SMALL, "total_timesteps": 320, **settings}))
    run = jax.jit(lambda key: learner.run_updates(learner.init(key), learner.config.num_updates, 16))
    state, metrics = run(jax.random.key(0))
    assert int(state.carried) > 0 and np.isfinite(metrics["train/critic_loss"]).any()


def test_nothing_non_finite_is_learnt_from():
    """Neither networks nor statistics change."""
    algorithm, state, rollout = pairs()
    learn, steps = jax.jit(algorithm.learn), rollout.transitions
    before, (state, metrics) = state, learn(state, rollout)
    assert metrics["train/skipped"] == 0 and not same(state.learnt, before.learnt)
    seen = steps.observation._replace(obs=steps.observation.obs.at[0, 0].set(jnp.nan))
    for bad in (steps._replace(observation=seen), steps._replace(reward=steps.reward * jnp.nan)):
        after, metrics = learn(state, rollout._replace(transitions=bad))
        assert metrics["train/skipped"] == 1 and after.skipped == 1
        assert same(after.learnt, state.learnt)


def test_a_delayed_policys_rate_never_falls_below_zero():
    config = hamljax.config(
        "hatd3", "game/tracking", **SMALL | {"gradient_steps": 3, "anneal_lr": True, "total_timesteps": 640}
    )
    sweep = make_learner(config).learner.sweep
    per_update = config.algo.gradient_steps / sweep.row.policy_delay
    params = {"w": jnp.ones(1)}
    state, moves = sweep.optimiser.init(params), []
    for _ in range(int(per_update * config.num_updates) + 4):
        updates, state = sweep.optimiser.update({"w": jnp.ones(1)}, state, params)
        moves.append(float(updates["w"][0]))
    assert max(moves) <= 0.0 and moves[0] < moves[len(moves) // 2] < 0.0 and moves[-1] == 0.0


def test_every_agent_explores_by_itself():
    algorithm, state, _, _ = collected()
    seen = jax.tree.map(lambda x: np.repeat(x, 100, axis=0), state.rollout.observation)
    arguments = algorithm.policy.initial_memory(400), jax.random.key(1), seen, np.ones(400, bool)

    @jax.jit
    def act(params):
        return [algorithm.policy.act(params, *arguments, greedy=greedy)[1] for greedy in (False, True)]

    noise = np.subtract(*act(state.learnt.agents.params))
    mask = algorithm.env.team.action_mask
    np.testing.assert_allclose(noise.std(axis=0)[mask], algorithm.config.algo.exploration_noise, rtol=0.15)
    assert (noise[:, ~mask] == 0).all()
    correlation = np.corrcoef(noise[:, mask].T) - np.eye(mask.sum())
    assert np.abs(correlation).max() < 0.25


def test_targets_move_when_it_is_their_time():
    _, state, _, sample = collected()
    learnt, step, moved = learnt_of(state), gradient_step(loop("haddpg", target_every=3)), []
    for n in range(6):
        after, _ = step(learnt, sample, jax.random.key(n))
        moved.append(not same(learnt[0].targets, after[0].targets))
        learnt = after
    assert moved == [False, False, True] * 2


def test_policies_and_targets_wait_for_the_critics():
    algorithm, sample = loop("hatd3"), collected()[3]
    learnt, step, moved = made_up(algorithm), gradient_step(algorithm), []
    for n in range(4):
        after, _ = step(learnt, sample, jax.random.key(n))
        moved.append(
            [
                not same(learnt[0].critic.params, after[0].critic.params),
                not same(learnt[0].agents.params, after[0].agents.params),
                not same(learnt[0].targets, after[0].targets),
            ]
        )
        learnt = after
    assert moved == [[True, False, False], [True, True, True]] * 2


def test_a_row_has_its_numbers_in_a_compiled_program_too():
    """There the floats of a configuration are traced, also those that say no more than "as the row has it"."""
    algo = hamljax.config("hatd3", "game/tracking").algo
    assert (
        jax.jit(lambda algo: resolve(algo).target_noise)(algo)
        == np.float32(0.2)
        == np.float32(resolve(algo).target_noise)
    )
    assert jax.jit(lambda algo: resolve(algo).target_noise)(algo.replace(target_noise=0.0)) == 0


# LEARNING


def score(algo, env="game/tracking", seeds=1, **overrides):
    """Greedy return after 16384 steps, the lowest of some seeds."""
    settings = {
        "total_timesteps": 16_384,
        "learning_starts": 1024,
        "num_evals": 2,
        "actor_lr": 1e-3,
        "critic_lr": 3e-3,
        "n_step": 1,
        "gamma": 0.5,
    }
    train = hamljax.make_train(hamljax.config(algo, env, **{**settings, **overrides}))
    train = jax.jit(train)  # of one seed, which is compiled in less time than of several
    return min(float(train(key)["metrics"]["eval/return"][-1]) for key in jax.random.split(jax.random.key(0), seeds))


# In ``make test`` a stochastic actor learns to climb, and every coordination is followed step by step above.
@pytest.mark.parametrize("algo", long(*OFF_POLICY))
def test_every_row_learns(algo):
    assert score(algo) > 15.0


@pytest.mark.parametrize("algo", ["hasac", *long("masac_s")])
def test_discrete_rows_learn_to_climb(algo):
    # Of several seeds, because an untrained policy earns as much by chance in some of them.
    small = {"seeds": 4, "total_timesteps": 8192, "batch_size": 64, "hidden_sizes": (16,), "num_eval_episodes": 16}
    assert score(algo, "game/climbing", gamma=0.9, **small) >= 5.0


# BAD INPUT


@pytest.mark.parametrize(
    "settings, line",
    [
        ({"algo": "haddpg", "env": "game/climbing"}, "haddpg needs continuous actions"),
        ({"algo": "haddpg", "buffer_size": 30}, "algo.buffer_size=30 is too small"),
        ({"algo": "haddpg", "learning_starts": 640}, "algo.learning_starts=640 leaves nothing"),
        ({"algo": "hasac", "network": "gru"}, "network=mlp"),
        ({"algo": "hasac", "truncation": "drop"}, "unknown truncation 'drop'"),
        ({"algo": "hasac", "others": "bufer"}, "did you mean 'buffer'"),
        ({"algo": "hasac", "clip_eps": 0.1}, "unknown setting 'clip_eps'"),
        ({"algo": "happo", "tau": 0.1}, "unknown setting 'tau'"),
        ({"algo": "haddpg", "drift": "kl"}, "haddpg is deterministic"),
        ({"algo": "hasac", "drift": "clip"}, "drift 'clip' is about the ratio of actions of a rollout"),
        ({"algo": "hasac", "neighbourhood": "kl_ball"}, "neighbourhood 'kl_ball' is for rollouts"),
        ({"algo": "hasac", "neighbourhood": "ratio_box"}, "neighbourhood 'ratio_box' is for rollouts"),
        ({"algo": "hasac", "neighbourhood": "kl_budget"}, "neighbourhood 'kl_budget' is for rollouts"),
        ({"algo": "hasac", "drift": "clip_n"}, "drift 'clip_n' is about the ratio of actions of a rollout"),
        ({"algo": "hasac", "kl_coef": (1.0, 2.0)}, "algo.kl_coef has 2 numbers, and the team has 3 agents"),
    ],
)
def test_what_cannot_be_is_one_line(settings, line):
    settings = {**(SMALL if settings["algo"] != "happo" else {}), "env": "game/tracking", **settings}
    with pytest.raises(ConfigError, match=line) as caught:
        make_learner(hamljax.config(**settings))
    assert "\n" not in str(caught.value)
