"""Matrix games, random stochastic games and the tracking game, against hand-written tables and plain numpy."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hamljax.envs import configure, make
from hamljax.envs.games import MatrixGame, RandomGame
from hamljax.envs.tracking import BOUND, STRIDE, Tracking
from hamljax.errors import ConfigError

NAMES = ["game/climbing", "game/penalty", "game/prop1", "game/prop2", "game/random", "game/tracking"]
UNEQUAL = np.arange(24).reshape(2, 3, 4) ** 2 % 17 - 5.0


def play_all(game):
    """The step after every joint action (batched), and the joint actions as a list of tuples."""
    joint = list(itertools.product(*map(range, game.payoff.shape)))
    state, _ = game.reset(jax.random.key(0))
    steps = jax.vmap(lambda a: game.step(jax.random.key(1), state, a)[1])(jnp.array(joint, jnp.int32))
    return steps, joint


# --- Matrix games ------------------------------------------------------------------------------------------------

HAND_WRITTEN = {
    "game/climbing": {
        (0, 0): 11, (0, 1): -30, (0, 2): 0,
        (1, 0): -30, (1, 1): 7, (1, 2): 6,
        (2, 0): 0, (2, 1): 0, (2, 2): 5,
    },
    "game/penalty": {
        (0, 0): -100, (0, 1): 0, (0, 2): 10,
        (1, 0): 0, (1, 1): 2, (1, 2): 0,
        (2, 0): 10, (2, 1): 0, (2, 2): -100,
    },
    "game/prop2": {(0, 0): 0, (0, 1): 2, (1, 0): 2, (1, 1): -1},
    "game/prop1": {a: float(a in {(0, 0, 1, 1), (1, 1, 0, 0)}) for a in itertools.product((0, 1), repeat=4)},
}  # fmt: skip


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_every_joint_action_pays_what_the_table_says(name):
    steps, joint = play_all(make(name))
    wanted = HAND_WRITTEN[name]
    assert set(joint) == set(wanted)
    np.testing.assert_array_equal(steps.reward, [wanted[a] for a in joint])
    np.testing.assert_array_equal(steps.metrics["optimal"], [wanted[a] == max(wanted.values()) for a in joint])
    assert steps.terminated.all() and not steps.truncated.any()


def test_settings_of_the_named_games():
    assert make(configure("game/penalty", penalty=-7.5)).payoff[2, 2] == -7.5
    game = make(configure("game/prop1", num_agents=6))
    assert game.payoff.shape == (2,) * 6 and game.payoff.sum() == 2
    assert game.payoff[0, 0, 0, 1, 1, 1] == game.payoff[1, 1, 1, 0, 0, 0] == 1


def test_proposition_1_ratio_follows_from_the_payoff():
    """The best shared policy plays 0 with probability 1/2 and earns 2 / 2^n; own policies earn 1."""
    for n in (2, 4, 8):
        payoff = make(configure("game/prop1", num_agents=n)).payoff
        zeros = np.array([n - sum(a) for a in itertools.product((0, 1), repeat=n)])
        grid = np.linspace(0, 1, 101)[:, None]
        shared = (grid**zeros * (1 - grid) ** (n - zeros)) @ payoff.ravel()
        assert payoff.max() == 1 and grid[shared.argmax(), 0] == 0.5
        np.testing.assert_allclose(shared.max(), 2 / 2**n, rtol=1e-12)


def test_unequal_action_counts_are_padded_and_pay_correctly():
    game = MatrixGame(UNEQUAL)
    assert game.team.action_sizes == (2, 3, 4)
    _, observation = game.reset(jax.random.key(0))
    wanted = [[True, True, False, False], [True, True, True, False], [True] * 4]
    np.testing.assert_array_equal(observation.avail_actions, wanted)
    np.testing.assert_array_equal(observation.obs, np.ones((3, 1)))
    np.testing.assert_array_equal(observation.world_state, [1.0])
    assert observation.alive.shape == (3,) and observation.alive.all()
    steps, joint = play_all(game)
    np.testing.assert_array_equal(steps.reward, [UNEQUAL[a] for a in joint])
    assert steps.metrics["optimal"].sum() == (UNEQUAL == UNEQUAL.max()).sum()


def test_payoffs_that_differ_beyond_float32_have_one_optimum():
    steps, _ = play_all(MatrixGame([1.0, 1.0 + 1e-12]))
    np.testing.assert_array_equal(steps.metrics["optimal"], [0.0, 1.0])


def test_a_matrix_game_is_a_finite_game():
    game = make("game/climbing")
    np.testing.assert_array_equal(game.reward, game.payoff[None])
    np.testing.assert_array_equal(game.transition, np.ones((1, 3, 3, 1)))
    assert game.initial.tolist() == [1.0] and game.termination == 1.0 and game.max_episode_length == 1
    assert type(game.payoff) is np.ndarray and game.payoff.dtype == np.float64


# --- Payoffs from files --------------------------------------------------------------------------------------------


def test_a_payoff_file_of_each_kind_gives_the_same_game(tmp_path):
    table = [[1.5, -2, 0], [3, 4, 1e-3]]
    np.save(tmp_path / "game.npy", np.array(table))
    (tmp_path / "game.json").write_text(json.dumps(table))
    (tmp_path / "game.csv").write_text("\ufeff" + "\n".join(",".join(map(str, row)) for row in table) + "\n\n")
    for suffix in ("npy", "json", "csv"):
        game = make(configure("game/matrix", payoff=str(tmp_path / f"game.{suffix}")))
        np.testing.assert_array_equal(game.payoff, table)
    np.save(tmp_path / "three.npy", UNEQUAL)
    (tmp_path / "three.json").write_text(json.dumps(UNEQUAL.tolist()))
    for file in ("three.npy", "three.json"):
        np.testing.assert_array_equal(make(configure("game/matrix", payoff=str(tmp_path / file))).payoff, UNEQUAL)


BAD_FILES = {
    "ragged.json": (b"[[1, 2], [3]]", "differ in length"),
    "ragged.csv": (b"1,2\n3\n", "differ in length"),
    "damaged.json": (b"[[1, 2", "not a readable .json file"),
    "damaged.npy": (b"\x93NUMPY\x01\x00v\x00{'descr'", "not a readable .npy file"),
    "empty.npy": (b"", "not a readable .npy file"),
    "empty.csv": (b"", "an axis per agent"),
    "empty.json": (b"[[], []]", "an axis per agent"),
    "number.json": (b"3", "an axis per agent"),
    "words.csv": (b"1,two\n3,4\n", "'two'"),
    "binary.csv": (b"\xff\xfe\x00", "not a readable .csv file"),
    "words.json": (b'[["1", "2"]]', "numbers only"),
    "null.json": (b"[[1, null]]", "numbers only"),
    "object.json": (b'{"payoff": [1, 2]}', "numbers only"),
    "nan.csv": (b"1,nan\n3,4\n", "finite"),
    "infinite.json": (b"[[1, Infinity]]", "finite"),
    "large.json": (b"[[1, 1e39]]", "finite"),
    "game.txt": (b"1 2", "wrong suffix '.txt'"),
    "game.jsn": (b"[1]", "did you mean '.json'?"),
}


def assert_one_line(caught, *fragments):
    message = str(caught.value)
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_payoff_file_is_one_clear_line(name, tmp_path):
    content, fragment = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        make(configure("game/matrix", payoff=str(tmp_path / name)))
    assert_one_line(caught, name, fragment)


def test_a_pickle_is_never_loaded(tmp_path):
    np.save(tmp_path / "game.npy", np.array([{1: 2}]), allow_pickle=True)
    with pytest.raises(ConfigError) as caught:
        make(configure("game/matrix", payoff=str(tmp_path / "game.npy")))
    assert_one_line(caught, "not a readable .npy file", "allow_pickle=False")


def test_missing_payoff_files(tmp_path):
    (tmp_path / "climb.json").write_text("[[1]]")
    for payoff, fragments in {
        "": ["payoff=PATH"],
        str(tmp_path / "climbs.json"): ["does not exist", "did you mean 'climb.json'?"],
        str(tmp_path / "nowhere" / "game.npy"): ["does not exist"],
        str(tmp_path): ["wrong suffix ''"],
    }.items():
        with pytest.raises(ConfigError) as caught:
            make(configure("game/matrix", payoff=payoff))
        assert_one_line(caught, *fragments)


BAD_SETTINGS = [
    ("game/prop1", {"num_agents": 3}, "even"),
    ("game/prop1", {"num_agents": 0}, "num_agents"),
    ("game/prop1", {"num_agents": 40}, "from 2 to 16"),
    ("game/penalty", {"penalty": 3.0}, "penalty"),
    ("game/penalty", {"penalty": float("nan")}, "finite"),
    ("game/penalty", {"penalty": "low"}, "'low'"),
    ("game/random", {"num_states": 0}, "num_states"),
    ("game/random", {"num_actions": 2.5}, "num_actions"),
    ("game/random", {"horizon": 0}, "horizon"),
    ("game/random", {"termination": 1.5}, "termination"),
    ("game/random", {"game_seed": -1}, "game_seed"),
    ("game/random", {"num_agents": 16, "num_actions": 1000, "num_states": 1000}, "1e+54"),
    ("game/tracking", {"horizon": 0}, "horizon"),
    ("game/tracking", {"coupling": -0.1}, "coupling"),
    ("game/tracking", {"coupling": float("inf")}, "coupling"),
    ("game/tracking", {"couplin": 0.1}, "did you mean 'coupling'?"),
]


@pytest.mark.parametrize("name, settings, fragment", BAD_SETTINGS)
def test_bad_settings(name, settings, fragment):
    with pytest.raises(ConfigError) as caught:
        make(configure(name, **settings))
    assert_one_line(caught, fragment)


# --- Every game ----------------------------------------------------------------------------------------------------


def any_action(env):
    """A valid joint action: zero or the first of each agent."""
    shape = (env.team.num_agents,) if env.team.discrete else (env.team.num_agents, env.team.action_size)
    return jnp.zeros(shape, jnp.int32 if env.team.discrete else jnp.float32)


@pytest.mark.parametrize("name", NAMES)
def test_reset_and_step_compile_batch_and_keep_their_types(name):
    env = make(name)
    team = env.team
    keys = jax.random.split(jax.random.key(3), 7)
    states, observations = jax.jit(jax.vmap(env.reset))(keys)
    actions = jnp.broadcast_to(any_action(env), (7, *any_action(env).shape))
    next_states, steps = jax.jit(jax.vmap(env.step))(keys, states, actions)

    def avals(tree):
        return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)

    assert avals(states) == avals(next_states)  # what a scan's carry demands
    assert avals(observations) == avals(steps.observation)
    assert observations.obs.shape == (7, team.num_agents, team.obs_size)
    assert observations.world_state.shape == (7, team.world_state_size)
    assert observations.avail_actions.shape == (7, team.num_agents, team.action_size)
    assert {x.dtype for x in (observations.obs, observations.world_state, steps.reward)} == {jnp.dtype("float32")}
    assert steps.terminated.dtype == steps.truncated.dtype == observations.avail_actions.dtype == jnp.bool_
    np.testing.assert_array_equal(
        observations.avail_actions, np.broadcast_to(team.action_mask, (7, *team.action_mask.shape))
    )
    for seen in (observations.obs, steps.observation.obs):
        assert not np.asarray(seen)[:, ~team.obs_mask].any()

    # A batch is what single calls give, and the same key gives the same result.
    one_state, one = env.reset(keys[4])
    np.testing.assert_allclose(one.world_state, observations.world_state[4], rtol=1e-6)  # up to fused rounding
    _, step = env.step(keys[4], one_state, actions[4])
    np.testing.assert_allclose(
        step.observation.world_state, steps.observation.world_state[4], rtol=1e-6
    )  # up to fused rounding
    np.testing.assert_allclose(step.reward, steps.reward[4], rtol=1e-6)  # float reordering only
    _, again = env.step(keys[4], one_state, actions[4])
    jax.tree.map(np.testing.assert_array_equal, step, again)


# --- Random stochastic games ---------------------------------------------------------------------------------------


def rollout(env, key, policy, length):
    """One episode of ``length`` steps with no reset -> states visited and the steps, stacked over time."""
    reset_key, *keys = jax.random.split(key, length + 1)

    def advance(state, key):
        act_key, step_key = jax.random.split(key)
        next_state, step = env.step(step_key, state, policy(act_key, state))
        return next_state, (state, step)

    state, _ = env.reset(reset_key)
    return jax.lax.scan(advance, state, jnp.stack(keys))[1]


def test_tables_are_distributions_and_depend_on_the_game_seed_alone():
    game, same, other = RandomGame(game_seed=1), RandomGame(game_seed=1), RandomGame(game_seed=2)
    assert game.transition.shape == (5, 3, 3, 5) and game.reward.shape == (5, 3, 3) and game.initial.shape == (5,)
    np.testing.assert_allclose(game.transition.sum(-1), 1, atol=1e-12)
    np.testing.assert_allclose(game.initial.sum(), 1, atol=1e-12)
    assert game.transition.min() > 0 and game.initial.min() > 0
    assert 0 <= game.reward.min() and game.reward.max() <= 1 and game.reward.std() > 0.1
    np.testing.assert_array_equal(game.transition, same.transition)
    np.testing.assert_array_equal(game.reward, same.reward)
    assert not np.allclose(game.transition, other.transition) and not np.allclose(game.reward, other.reward)


def test_transition_frequencies_match_the_table():
    """Each frequency lies within 5 standard errors of its probability, in each of the 12 (state, joint action) cells.

    The joint frequency of (next state, terminated) must be the product: the two draws may not share a key.
    """
    game, draws, p = RandomGame(num_states=3, num_actions=2, termination=0.3, game_seed=4), 20_000, 0.3
    state, _ = game.reset(jax.random.key(0))

    @jax.jit
    def sample(key, s, a):
        keys = jax.random.split(key, draws)
        states, steps = jax.vmap(game.step, (0, None, None))(keys, state._replace(state=s), a)
        return states.state, steps.terminated, steps.reward

    cells = list(itertools.product(range(3), range(2), range(2)))
    for key, (s, *a) in zip(jax.random.split(jax.random.key(5), len(cells)), cells, strict=True):
        states, terminated, reward = map(np.asarray, sample(key, jnp.int32(s), jnp.array(a, jnp.int32)))
        np.testing.assert_allclose(reward, game.reward[(s, *a)], rtol=1e-6)
        for ended in (True, False):
            wanted = game.transition[(s, *a)] * (p if ended else 1 - p)
            found = np.bincount(states[terminated == ended], minlength=3) / draws
            assert (np.abs(found - wanted) <= 5 * np.sqrt(wanted * (1 - wanted) / draws)).all(), (s, a, found, wanted)


def test_first_states_follow_the_initial_distribution():
    game, draws = RandomGame(num_states=4, game_seed=2), 20_000
    states = jax.vmap(lambda key: game.reset(key)[0].state)(jax.random.split(jax.random.key(1), draws))
    found = np.bincount(states, minlength=4) / draws
    assert (np.abs(found - game.initial) <= 5 * np.sqrt(game.initial * (1 - game.initial) / draws)).all()


def numpy_episodes(game, count, policy, seed):
    """Independent simulation from the tables: returns and lengths (count,) of complete episodes."""
    rng = np.random.default_rng(seed)
    returns, lengths, alive = np.zeros(count), np.zeros(count, int), np.ones(count, bool)
    states = rng.choice(game.num_states, size=count, p=game.initial)
    for _ in range(game.horizon):
        for e in np.flatnonzero(alive):
            action = tuple(rng.choice(len(policy[0]), p=policy[i]) for i in range(2))
            returns[e] += game.reward[(states[e], *action)]
            lengths[e] += 1
            states[e] = rng.choice(game.num_states, p=game.transition[(states[e], *action)])
            alive[e] = rng.random() >= game.termination
    return returns, lengths


def exact_return(game, policy):
    """Expected undiscounted return of two independent agents by backward induction over the horizon."""
    joint = np.einsum("a,b->ab", *policy)
    value = np.zeros(game.num_states)
    for _ in range(game.horizon):
        value = np.einsum("ab,sab->s", joint, game.reward + (1 - game.termination) * game.transition @ value)
    return game.initial @ value


def test_episodes_agree_with_numpy_and_with_exact_values():
    """Mean return and length agree with a plain numpy simulation, and the return with dynamic programming: 5 s.e."""
    game, policy = (
        RandomGame(num_states=4, num_actions=2, horizon=9, termination=0.1),
        np.array([[0.8, 0.2], [0.3, 0.7]]),
    )
    logits = jnp.log(policy)
    keys = jax.random.split(jax.random.key(8), 20_000)
    run = jax.jit(
        jax.vmap(lambda key: rollout(game, key, lambda k, _: jax.random.categorical(k, logits), game.horizon))
    )
    _, steps = run(keys)
    done = np.asarray(steps.terminated | steps.truncated)
    playing = np.cumsum(done, axis=1) - done == 0  # up to and including the step that ends the first episode
    returns, lengths = (np.asarray(steps.reward) * playing).sum(1), playing.sum(1)
    other_returns, other_lengths = numpy_episodes(game, 1000, policy, seed=0)
    for mine, other in ((returns, other_returns), (lengths, other_lengths)):
        assert abs(mine.mean() - other.mean()) <= 5 * np.hypot(mine.std() / 20_000**0.5, other.std() / 1000**0.5)
    assert abs(returns.mean() - exact_return(game, policy)) <= 5 * returns.std() / 20_000**0.5
    assert not (steps.terminated & steps.truncated).any()
    assert (steps.terminated.any(1) & ~steps.truncated.any(1)).sum() > 1000  # both kinds of ending happen
    assert (steps.truncated & playing).sum() > 1000
    assert not steps.truncated[:, :-1].any()


def test_without_termination_only_the_time_limit_ends_an_episode_exactly_at_the_horizon():
    game = RandomGame(horizon=6)
    states, steps = rollout(game, jax.random.key(0), lambda k, _: jax.random.randint(k, (2,), 0, 3), 6)
    assert steps.truncated.tolist() == [False] * 5 + [True] and not steps.terminated.any()
    assert game.max_episode_length == 6
    # Everybody sees the state as one-hot, and the step holds the true next observation.
    np.testing.assert_array_equal(steps.observation.world_state[:-1], np.eye(5)[states.state[1:]])
    np.testing.assert_array_equal(steps.observation.obs, np.repeat(steps.observation.world_state[:, None], 2, axis=1))
    assert len(set(states.state.tolist())) > 1


def test_certain_termination_ends_at_once_even_on_the_last_step():
    game = RandomGame(horizon=1, termination=1.0)
    state, _ = game.reset(jax.random.key(0))
    _, step = game.step(jax.random.key(1), state, jnp.zeros(2, jnp.int32))
    assert step.terminated and not step.truncated


# --- Tracking ------------------------------------------------------------------------------------------------------


def perfect(state):
    """The optimal joint action (3, 3): each agent's target, zero where padded."""
    x = state.targets
    return jnp.array([[x[0], 0, 0], [x[1], x[2], 0], [x[3], x[4], x[5]]])


def test_tracking_reward_on_hand_computed_numbers():
    env = Tracking(coupling=0.5)
    state, _ = env.reset(jax.random.key(0))
    state = state._replace(targets=jnp.array([0.1, 0.2, -0.2, 0.0, 0.3, -0.3]))
    # Errors: agent 0: 0.4; agent 1: (0.2, -0.4); agent 2: (0.3, 0.0, 0.6). The nines are padding and must not count.
    action = jnp.array([[0.5, 9, 9], [0.4, -0.6, 9], [0.3, 0.3, 0.3]])
    squares = (0.16 + (0.04 + 0.16) / 2 + (0.09 + 0.36) / 3) / 3
    biases = 0.4 + (0.2 - 0.4) / 2 + (0.3 + 0.6) / 3
    _, step = env.step(jax.random.key(1), state, action)
    np.testing.assert_allclose(step.reward, 1 - squares - 0.5 * biases**2 / 3, rtol=1e-6)
    np.testing.assert_allclose(step.metrics["error"], (0.4 + 0.3 + 0.3) / 3, rtol=1e-6)
    _, free = Tracking(coupling=0.0).step(jax.random.key(1), state, action)
    np.testing.assert_allclose(free.reward, 1 - squares, rtol=1e-6)


@pytest.mark.parametrize("coupling", [0.0, 0.5, 3.0])
def test_tracking_optimum_returns_the_horizon_and_anything_else_less(coupling):
    env = Tracking(coupling=coupling)
    _, best = rollout(env, jax.random.key(2), lambda _, state: perfect(state), 16)
    assert best.reward.sum() == 16.0 and (best.reward == 1.0).all() and (best.metrics["error"] == 0).all()
    assert best.truncated.tolist() == [False] * 15 + [True] and not best.terminated.any()

    # Every single coordinate moved a little either way, and random joint actions, earn strictly less.
    state, _ = env.reset(jax.random.key(3))
    mask = env.team.action_mask
    nudges = np.concatenate(
        [[np.eye(9)[i].reshape(3, 3) * s for i in range(9) if mask.ravel()[i]] for s in (0.01, -0.01)]
    )
    randoms = jax.random.uniform(jax.random.key(4), (2000, 3, 3), minval=-1, maxval=1)
    actions = jnp.concatenate([perfect(state) + nudges, randoms * mask])
    rewards = jax.vmap(lambda a: env.step(jax.random.key(5), state, a)[1].reward)(actions)
    assert len(rewards) == 2012 and (rewards < 1.0).all()


def test_tracking_agents_matter_to_each_other():
    """With partners off by +0.3 each, agent 0's best answer is -c / (1 + c) * 0.6 beside its target, and only with c."""
    for coupling, wanted in ((0.5, -0.2), (0.0, 0.0)):
        env = Tracking(coupling=coupling)
        state, _ = env.reset(jax.random.key(6))
        state = state._replace(targets=jnp.zeros(6))

        def reward(a, env=env, state=state):
            action = jnp.full((3, 3), 0.3).at[0, 0].set(a)
            return env.step(jax.random.key(0), state, action)[1].reward

        np.testing.assert_allclose(jax.grad(reward)(jnp.float32(wanted)), 0, atol=1e-6)
        assert abs(jax.grad(reward)(jnp.float32(wanted + 0.1))) > 0.05


def test_tracking_observations_hold_what_the_agents_may_see():
    env = Tracking(horizon=4)
    assert env.team.obs_sizes == (6, 2, 4) and env.team.action_sizes == (1, 2, 3) and not env.team.discrete
    state, first = env.reset(jax.random.key(7))
    for steps_taken in range(3):
        x, left = np.asarray(state.targets), 1 - steps_taken / 4
        np.testing.assert_allclose(first.obs, [[*x], [x[1], x[2], 0, 0, 0, 0], [*x[3:], left, 0, 0]], rtol=1e-6)
        np.testing.assert_allclose(first.world_state, [*x, left], rtol=1e-6)
        state, step = env.step(jax.random.key(steps_taken), state, perfect(state))
        first = step.observation


def test_tracking_targets_walk_inside_their_bounds_and_stay_uniform():
    """Steps of at most STRIDE; mean and variance of 4,000 x 6 targets after 16 steps within 5 s.e. of the uniform's."""
    env = Tracking(horizon=17)
    keys = jax.random.split(jax.random.key(9), 4000)
    states, steps = jax.jit(jax.vmap(lambda key: rollout(env, key, lambda _, s: perfect(s), 17)))(keys)
    x = np.asarray(states.targets, np.float64)  # (episodes, time, 6)
    assert np.abs(x).max() <= BOUND
    moves = np.abs(np.diff(x, axis=1))
    assert moves.max() <= STRIDE + 1e-6 and (moves > 0).mean() > 0.99
    last, n, variance = x[:, -1].ravel(), x[:, -1].size, BOUND**2 / 3
    assert abs(last.mean()) <= 5 * np.sqrt(variance / n)
    assert abs((last**2).mean() - variance) <= 5 * np.sqrt((BOUND**4 / 5 - variance**2) / n)
    # Coordinates and episodes walk on their own: no correlation beyond 5 s.e.
    correlation = np.corrcoef(np.diff(x, axis=1)[:, 0].T) - np.eye(6)
    assert np.abs(correlation).max() <= 5 / np.sqrt(4000)
