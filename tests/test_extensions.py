"""What a user writes himself: drifts, neighbourhoods and rows are honoured, or refused in one line before anything runs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import yaml
from sizes import long

import hamljax
from hamljax import haml
from hamljax.algorithms import table as algorithms
from hamljax.errors import ConfigError
from hamljax.haml import Agent
from hamljax.lab.cli import main
from hamljax.lab.commands.resume import read
from hamljax.lab.configuration.jobs import make_job
from hamljax.training.train import make_learner

TINY = ["env=game/climbing", "num_envs=4", "num_steps=4", "total_timesteps=32", "num_evals=0"]
TINY += ["absolute_metric=false", "network.hidden_sizes=[8]"]
SIZES = {"num_envs": 4, "num_steps": 4, "total_timesteps": 32, "num_evals": 0, "hidden_sizes": (8,)}


@pytest.fixture(autouse=True)
def tables():
    """Whatever a test registers is gone after it."""
    every = (haml.DRIFTS, haml.NEIGHBOURHOODS, haml.SOLVERS, haml.ORDERS, algorithms.ALGORITHMS)
    kept = [(table, dict(table)) for table in every]
    yield
    for table, before in kept:
        table.clear()
        table.update(before)


@functools.cache
def base(env="game/climbing", network="mlp"):
    return hamljax.config("happo", env, network, **SIZES)


def config(**overrides):
    return base().replace(**overrides)


@functools.cache
def collected(network="mlp"):
    """The state of a run and its first rollout: the same whatever is made of them."""
    loop = make_learner(base(network=network)).learner
    return jax.jit(lambda key: loop.collect(loop.init(key)))(jax.random.key(0))


def refusal(**overrides) -> str:
    """What is said of a configuration when the learner is made, on one line."""
    with pytest.raises(ConfigError) as error:
        make_learner(config(**overrides))
    assert "\n" not in str(error.value)
    return str(error.value)


# NEIGHBOURHOODS AND SOLVERS


def with_solver(make, uses_optimiser=True):
    """The neighbourhood 'mine', which is everywhere, and the solver of its name."""
    hamljax.register_solver("mine", uses_optimiser=uses_optimiser)(make)
    hamljax.register_neighbourhood("mine", solver="mine")(lambda divergence: divergence.mean(divergence.kl) - 1e9)


def nudge(solve_with):
    """A solver that adds ``solve_with()`` to every parameter."""

    def solve(objective, divergence, limit, agent, batch, context, key):
        shift = solve_with()
        return Agent(jax.tree.map(lambda x: x + shift, agent.params), agent.opt_state), {"moved": shift}

    return solve


NUDGE = """
import jax
import hamljax
from hamljax.haml import Agent


@hamljax.register_solver("nudge", uses_optimiser=False)
def nudge(*, radius=0.25, update_epochs):
    def solve(objective, divergence, limit, agent, batch, context, key):
        shift = radius * update_epochs
        return Agent(jax.tree.map(lambda x: x + shift, agent.params), agent.opt_state), {"moved": shift}

    return solve


@hamljax.register_neighbourhood("nudge", solver="nudge")
def near(divergence, *, max_move=1e9):
    return divergence.largest(divergence.kl) - max_move
"""


def moved(**overrides):
    """How far its solver moves a parameter."""
    context = {"agent": 1}
    solve = make_learner(config(neighbourhood="mine", **overrides)).learner.sweep.solver_of(context)
    agent, info = solve(None, None, None, Agent(jnp.zeros(2), ()), None, context, None)
    return agent.params[0]


def test_a_solvers_own_parameter_has_its_default_or_what_is_said():
    with_solver(lambda *, radius=0.25, update_epochs: nudge(lambda: radius * update_epochs), uses_optimiser=False)
    assert moved(update_epochs=2) == 0.5
    assert moved(update_epochs=2, neighbourhood_params={"radius": 1}) == 2.0
    assert moved(neighbourhood_params={"radius": 0.5}, update_epochs=1) == 0.5
    assert moved(neighbourhood_params={"radius": [0.5, 3.0]}, update_epochs=1) == 3.0  # of the second agent


def test_its_values_may_be_traced_so_that_runs_are_vmapped_over_them():
    with_solver(lambda radius: nudge(lambda: radius), uses_optimiser=False)
    out = jax.vmap(lambda radius: moved(neighbourhood_params={"radius": radius}))(jnp.array([1, 3]))
    np.testing.assert_array_equal(out, [1.0, 3.0])


def test_a_neighbourhoods_parameter_on_the_command_line_lives_with_the_run(tmp_path, capsys):
    plugin, run = tmp_path / "nudge.py", tmp_path / "run"
    plugin.write_text(NUDGE)
    words = [f"plugin={plugin}", "algo.neighbourhood=nudge", f"run_dir={run}"]
    continuous = ["env=game/tracking", *TINY[1:]]  # where nothing is known exactly, which is a program less
    assert main(["train", *continuous, *words, "+algo.neighbourhood_params.radius=0.5"]) == 0
    columns = pd.read_parquet(run / "metrics.parquet")
    np.testing.assert_allclose(columns["train/moved"], 2.5)  # five epochs of it
    algo = yaml.safe_load((run / "config.yaml").read_text())["algo"]
    assert algo["neighbourhood_params"] == {"radius": 0.5} and algo["neighbourhood"] == "nudge"
    (job,) = read([str(run), "total_timesteps=64"])
    assert job.config.algo.neighbourhood_params == {"radius": 0.5}
    assert hamljax.load(run).config.algo == job.config.algo
    capsys.readouterr()
    assert main(["train", *continuous, *words]) == 2  # another run: there the radius was said
    assert "algo.neighbourhood_params.radius" in capsys.readouterr().err


def test_what_is_wrong_with_a_parameter_is_one_line_and_exit_code_2(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plugin = tmp_path / "nudge.py"
    plugin.write_text(NUDGE + "\n@hamljax.register_drift('square')\n"
        "def square(ratio, m_advantage, *, weight, power=2.0):\n    return weight * (ratio - 1) ** power\n")  # fmt: skip
    both = ["algo.drift=square", "algo.neighbourhood=nudge"]
    weight = "+algo.drift_params.weight=1"
    for words, complaint in (
        (["+algo.neighbourhood_params.radus=0.5", weight], "'nudge' has no parameter 'radus'; did you mean 'radius'?"),
        (
            ["+algo.neighbourhood_params.radius=wide", weight],
            "neighbourhood_params.radius must be a number or a list of which each is a number, not 'wide'",
        ),
        (
            ["+algo.neighbourhood_params.radius=[1,2,3]", weight],
            "algo.neighbourhood_params.radius has 3 numbers, and the team has 2 agents",
        ),
        (
            ["+algo.neighbourhood_params.radius=true", weight],
            "neighbourhood_params.radius must be a number or a list of which each is a number, not 'True'",
        ),
        (["+algo.neighbourhood_params.a.b=1", weight], "has no parameter 'a.b'"),
        (["+algo.neighbourhod_params.radius=1", weight], "did you mean 'algo.neighbourhood_params'?"),
        (["algo.neighbourhood_params={radius:a}", weight], "neighbourhood_params.radius must be a number or a list"),
        ([], "drift 'square' needs 'weight'; add +algo.drift_params.weight=VALUE"),
        (["+algo.drift_params.weigth=1"], "drift 'square' has no parameter 'weigth'; did you mean 'weight'?"),
        (
            ["algo=hasac", "+algo.neighbourhood_params.radius=1", "algo.learning_starts=0", "algo.batch_size=8"],
            "has no parameter 'radius'",
        ),
        (["algo.drift_params=3"], "algo.drift_params must be a dictionary of numbers by name, not '3'"),
    ):
        algo = [] if words[:1] == ["algo=hasac"] else both
        assert main(["train", *TINY, f"plugin={plugin}", *algo, *words]) == 2
        err = capsys.readouterr().err
        assert complaint in err and err.count("\n") == 1, err
    assert not (tmp_path / "runs").exists()


def test_a_parameter_may_be_said_with_or_without_a_plus():
    hamljax.register_drift("square")(lambda ratio, m_advantage, *, weight=1.0: weight * (ratio - 1) ** 2)
    for word in ("+algo.drift_params.weight=3", "algo.drift_params.weight=3", "++algo.drift_params.weight=3.0"):
        job = make_job([*TINY, "algo.drift=square", word])
        assert job.config.algo.drift_params == {"weight": 3.0}, word
    assert make_job([*TINY, "algo.drift=square", "algo.drift_params={weight:3}"]).config.algo.drift_params == {
        "weight": 3
    }


def test_a_default_beside_a_setting_of_its_name_is_not_ignored_in_silence():
    hamljax.register_drift("own")(lambda ratio, m_advantage, *, clip_eps=0.3: clip_eps * (ratio - 1) ** 2)
    assert "'clip_eps' is 0.3 by default, but algo.clip_eps, which it stands for, is 0.2" in refusal(drift="own")
    hamljax.register_drift("same")(lambda ratio, m_advantage, *, clip_eps=0.2: clip_eps * (ratio - 1) ** 2)
    assert algorithms.hyper_parameters(config(drift="same", clip_eps=0.1).algo, "drift_params")["clip_eps"] == 0.1


def test_shipped_names_are_taken():
    with pytest.raises(ValueError, match="'kl_ball' is among the neighbourhoods that hamljax ships"):
        hamljax.register_neighbourhood("kl_ball")(lambda: None)
    with pytest.raises(ValueError, match="'clip' is among the drifts that hamljax ships"):
        hamljax.register_drift("clip")(lambda ratio, m_advantage: ratio)
    with pytest.raises(ValueError, match="'happo' is an algorithm that hamljax ships"):
        hamljax.register_algorithm("happo", hamljax.Algorithm("sequential", "none", "everywhere"))


def test_a_decorator_without_its_name_is_not_taken_for_one():
    for register in (hamljax.register_drift, hamljax.register_neighbourhood):
        for name in (none_at_all, None, ""):
            with pytest.raises(ValueError, match="is registered with a name"):
                register(name)
    for name in ("", None, "my/row"):
        with pytest.raises(ConfigError, match="is registered with a name"):
            hamljax.register_algorithm(name, hamljax.Algorithm("sequential", "none", "everywhere"))


def test_a_setting_said_again_among_the_parameters_has_its_range_and_is_no_count():
    assert refusal(drift_params={"clip_eps": -1}) == "algo.drift_params.clip_eps must be in (0, inf), not -1.0"
    said = refusal(neighbourhood_params={"update_epochs": 3})
    assert (
        said
        == "algo.neighbourhood_params holds fractions; 'update_epochs' is a whole number: say algo.update_epochs=VALUE"
    )


def returns(value):
    return lambda: lambda objective, divergence, limit, agent, batch, context, key: value(agent)


SOLVERS = {
    "no solver": (lambda: None, "failed: TypeError: 'NoneType' object is not callable"),
    "four arguments": (lambda: lambda objective, kl, agent, batch: (agent, {}), "takes 4 positional arguments but 7"),
    "only the agent": (returns(lambda agent: agent._replace(opt_state=())), "must return (agent, info)"),
    "info of another kind": (returns(lambda agent: (agent, 0.0)), "info a dictionary of numbers"),
    "info in rooms": (returns(lambda agent: (agent, {"a": {"b": 0.0}})), "info a dictionary of numbers"),
    "info without names": (returns(lambda agent: (agent, {3: 0.0})), "info a dictionary of numbers"),
    "nothing": (returns(lambda agent: None), "not a NoneType"),
    "parameters only": (returns(lambda agent: (agent.params, {})), "agent.params['bias'] was float32[] and is not there"),
    "a plain pair": (returns(lambda agent: (tuple(agent), {})), "agent.params['bias'] was float32[] and is not there"),
    "another shape": (
        returns(lambda agent: (agent._replace(params={**agent.params, "kernel": jnp.zeros(3)}), {})),
        "agent.params['kernel'] was float32[4] and is float32[3]",
    ),
    "another dtype": (
        returns(lambda agent: (agent._replace(params=jax.tree.map(jnp.int32, agent.params)), {})),
        "agent.params['bias'] was float32[] and is int32[]",
    ),
    "no state of the optimiser": (returns(lambda agent: (agent._replace(opt_state=()), {})), "and is not there"),
    "a fault": (returns(lambda agent: 1 / 0), "failed in line"),
}  # fmt: skip


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_returns_the_agent_as_it_was_or_is_named(name):
    make, complaint = SOLVERS[name]
    with_solver(make)
    said = refusal(neighbourhood="mine")
    assert said.startswith("solver 'mine'") and complaint in said


def test_what_a_solver_without_an_optimiser_has_of_one_stays_as_it_was():
    with_solver(returns(lambda agent: (agent._replace(opt_state=None), {})), uses_optimiser=False)
    assert "an empty part of it has become another" in refusal(neighbourhood="mine")


def test_a_solver_may_use_all_that_it_is_promised():
    """The batch by its fields, in minibatches, an optimiser and a key: what is tried on shapes is what comes."""

    def make(optimiser, num_minibatches):
        ascent = haml.ascent(optimiser, 1, num_minibatches)

        def solve(objective, divergence, limit, agent, batch, context, key):
            agent, info = ascent(objective, divergence, limit, agent, batch, context, key)
            alive = jnp.mean(jnp.where(batch.alive, jnp.exp(batch.log_prob), 0.0))
            moved = limit(divergence(agent.params, batch)) + context["progress"] + context["log_m"].sum()
            return agent, info | {"alive": alive + 0 * (moved + context["agent"])}

        return solve

    with_solver(make)
    for network, start in (("mlp", 1), ("gru", 4)):
        learner = make_learner(base(network=network).replace(neighbourhood="mine", num_minibatches=4 // start))
        assert "train/alive" in jax.eval_shape(learner.update, jax.eval_shape(learner.init, jax.random.key(0)))[1]


def test_functions_take_what_they_are_given():
    with pytest.raises(ValueError, match="solver 'mine': it must take 'radius' by name"):
        hamljax.register_solver("mine")(lambda radius, /: None)
    for register in (hamljax.register_solver, hamljax.register_neighbourhood):
        with pytest.raises(ValueError, match="'mine': it must be a function"):
            register("mine")(3)
    with pytest.raises(ValueError, match="neighbourhood 'mine': it must be a function of .divergence"):
        hamljax.register_neighbourhood("mine")(lambda: 0.0)


LIMITS = {
    "one number a sample": (lambda divergence: divergence.kl - 1, "must return one number, not float32[5, 1]"),
    "nothing": (lambda divergence: None, "must return one number, not a NoneType"),
    "a truth": (lambda divergence: divergence.mean(divergence.kl) < 1, "must return one number, not bool[]"),
    "a fault": (lambda divergence: divergence.kl_of_old, "failed in line"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_one_number_or_is_named(name):
    limit, complaint = LIMITS[name]
    hamljax.register_neighbourhood("mine")(limit)
    said = refusal(neighbourhood="mine")
    assert said.startswith("neighbourhood 'mine'") and complaint in said


def test_a_solver_that_is_not_there_is_named():
    hamljax.register_neighbourhood("mine", solver="asent")(lambda divergence: divergence.mean(divergence.kl))
    assert refusal(neighbourhood="mine") == "unknown solver 'asent'; did you mean 'ascent'?"


def test_a_limit_may_ask_for_the_predecessors_and_for_the_time():
    def joint(divergence, *, log_m, progress, agent, radius=1.0):
        return divergence.mean(jnp.abs(log_m + divergence.log_ratio)) - radius * (1 - progress) + 0 * agent

    hamljax.register_neighbourhood("mine")(joint)
    learner = make_learner(config(neighbourhood="mine"))
    assert "train/inside" in jax.eval_shape(learner.update, jax.eval_shape(learner.init, jax.random.key(0)))[1]


# DRIFTS


def none_at_all(ratio, m_advantage):
    return None


COSTS = {
    "the mean": (lambda ratio, m_advantage: jnp.mean((ratio - 1) ** 2), "costs float32[] where the ratio is float32[5, 1]"),
    "one axis less": (lambda ratio, m_advantage: (ratio[:, 0] - 1) ** 2, "costs float32[5] where the ratio is float32[5, 1]"),
    "one axis more": (lambda ratio, m_advantage: (ratio[..., None] - 1) ** 2, "costs float32[5, 1, 1]"),
    "a number per agent": (lambda ratio, m_advantage: jnp.array([0.1, 0.3]) * (ratio - 1) ** 2, "costs float32[5, 2]"),
    "that fits one length": (lambda ratio, m_advantage: jnp.ones((5, 1)) * (ratio - 1) ** 2, "failed in line"),
    "nothing": (none_at_all, "costs a NoneType"),
    "a whole number": (lambda ratio, m_advantage: 0, "costs int32[]"),
    "a pair": (lambda ratio, m_advantage: (ratio, ratio), "costs a tuple"),
    "a word": (lambda ratio, m_advantage: "free", "failed"),
    "truths": (lambda ratio, m_advantage: ratio > 1.2, "costs bool[5, 1]"),
    "a fault": (lambda ratio, m_advantage: 1 / 0, "failed in line"),
    "a choice by value": (lambda ratio, m_advantage: ratio if ratio.sum() > 0 else -ratio, "TracerBoolConversionError"),
    "a choice by a traced parameter": (
        lambda ratio, m_advantage, *, weight=1.0: ratio if weight > 1 else -ratio, "TracerBoolConversionError",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COSTS)
def test_a_cost_has_the_shape_of_the_ratio_or_is_named(name):
    drift, complaint = COSTS[name]
    hamljax.register_drift("mine")(drift)
    values = {"drift_params": {"weight": 2.0}} if "traced" in name else {}
    said = refusal(drift="mine", **values)
    assert said.startswith("drift 'mine'") and complaint in said


def test_the_line_of_a_fault_is_the_users(tmp_path, capsys):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "import hamljax\n\n@hamljax.register_drift('mine')\ndef mine(ratio, m_advantage):\n    return ratio @ ratio\n"
    )
    assert main(["train", *TINY, f"plugin={plugin}", "algo.drift=mine", f"run_dir={tmp_path / 'run'}"]) == 2
    err = capsys.readouterr().err
    assert "drift 'mine', traced as in training, failed in line 5: TypeError: " in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["wide", None, True, {"a": 1}, [[0.1], 0.3], ["wide", 0.3]])
def test_a_hyper_parameter_is_a_number_or_one_for_each_agent(value):
    for overrides in ({"clip_eps": value}, {"drift_params": {"clip_eps": value}}, {"max_kl": value}):
        with pytest.raises(ConfigError, match="must be a"):
            config(**overrides)


@pytest.mark.parametrize("value", [jnp.array([0.1, 0.3]), np.array([0.1]), jnp.zeros((2, 2))])
def test_an_array_of_hyper_parameters_is_refused_and_not_broadcast(value):
    for name, overrides in (
        ("algo.clip_eps", {"clip_eps": value}),
        ("algo.drift_params.clip_eps", {"drift_params": {"clip_eps": value}}),
        ("gamma", {"gamma": value}),
        ("network.std_x_coef", {"std_x_coef": value}),
    ):
        assert refusal(**overrides).startswith(f"{name} must be one number, not an array of shape")
    with pytest.raises(ConfigError, match="algo.clip_eps must be one number"):
        hamljax.config("happo", "game/climbing", clip_eps=value)


def test_numbers_of_agents_are_one_for_each_in_their_range_and_of_policies_that_are_their_own():
    assert config(clip_eps=[0.1, 0.3]).algo.clip_eps == (0.1, 0.3)
    assert "algo.clip_eps has 3 numbers, and the team has 2 agents" in refusal(clip_eps=[0.1, 0.2, 0.3])
    assert "algo.drift_params.clip_eps has 1 numbers" in refusal(drift_params={"clip_eps": [0.1]})
    assert refusal(clip_eps=[0.1, -0.3]) == "algo.clip_eps[1] must be in (0, inf), not -0.3"
    make_learner(config(sharing="all", clip_eps=[0.1, 0.3]))
    said = refusal(sharing="all", neighbourhood="kl_stop", max_kl=[0.1, 0.3])
    assert "algo.max_kl: agents that share a policy have one neighbourhood" in said


@pytest.mark.parametrize("neighbourhood, name", [("everywhere", "clip_eps"), *long(("kl_ball", "max_kl"))])
def test_every_agent_has_its_own_number(neighbourhood, name):
    """Simultaneously: agent i moves as it does in a run in which all have its number."""
    state, traj = collected()
    advantage = jax.random.normal(jax.random.key(1), traj.transitions.log_prob.shape)

    def swept(values):
        loop = make_learner(config(coordination="simultaneous", neighbourhood=neighbourhood, **{name: values})).learner
        return loop.sweep.improve(state.learnt.agents, traj, advantage, *jax.random.split(jax.random.key(2)))[0].params

    values = (0.001, 0.3)
    each, swept_alike = jax.jit(lambda: swept(values))(), jax.jit(swept)
    for i, value in enumerate(values):
        jax.tree.map(lambda x, y, i=i: np.testing.assert_allclose(x[i], y[i], atol=1e-6), each, swept_alike(value))
    assert any((np.abs(np.subtract(*np.asarray(x)[:2])) > 1e-4).any() for x in jax.tree.leaves(swept_alike(0.3)))


@pytest.mark.parametrize("network, sharing", [("mlp", "own"), ("gru", "all")])
def test_a_drift_is_given_what_it_asks_for_by_name(network, sharing):
    """Against the rollout itself, agent by agent: own policies and a shared one, feed-forward and in sequences."""
    hamljax.register_drift("mine")(
        lambda r, a, *, kl, reverse_kl, old_prob, advantage, obs, world_state, agent, progress: 0 * r
    )
    loop = make_learner(base(network=network).replace(drift="mine", sharing=sharing)).learner
    sweep, length = loop.sweep, loop.config.chunk_length

    @jax.jit
    def found(key):
        state, traj = loop.collect(loop.init(key))
        advantage = jax.random.normal(jax.random.key(1), traj.transitions.log_prob.shape)
        batches = sweep.batches(traj, advantage)
        new = jax.vmap(loop.policy.evaluate_actions)(state.learnt.agents.params, batches)
        return traj.transitions, advantage, sweep.given(new, batches, 0.25)

    steps, advantage, given = jax.tree.map(np.asarray, found(jax.random.key(0)))
    envs, agents = steps.log_prob.shape[1:]

    def of(env, agent, x):
        """An agent's samples in one environment, as its policy has them: (chunks, L, ...)."""
        policy, place = (agent, env) if sharing == "own" else (0, env * agents + agent)
        return x[policy].reshape(-1, envs * loop.policy.layout.group_size, length, *x.shape[3:])[:, place]

    for env in range(envs):
        for agent in range(agents):
            for name, x in (
                ("old_prob", np.exp(steps.log_prob[:, env, agent])),
                ("advantage", advantage[:, env, agent]),
                ("agent", np.full(len(advantage), agent)),
                ("world_state", steps.observation.world_state[:, env]),
            ):
                mine = of(env, agent, given[name])
                np.testing.assert_allclose(mine, x.reshape(mine.shape), rtol=1e-6, err_msg=name)
    assert given["progress"] == 0.25 and given["obs"].shape[:-1] == given["kl"].shape
    np.testing.assert_allclose(given["kl"], 0, atol=1e-6)
    np.testing.assert_allclose(given["reverse_kl"], 0, atol=1e-6)


def test_m_and_the_agent_in_a_drift_are_those_of_the_sweep():
    """In a fixed order: the first is shown M = 1, the second the first one's ratio after all of its epochs."""
    seen = []
    hamljax.register_drift("mine")(lambda r, a, *, m, agent, progress: _recorded(seen, r, m, agent, progress))
    loop = make_learner(config(drift="mine", order="fixed", actor_lr=0.05)).learner
    state, traj = collected()
    advantage = jax.random.normal(jax.random.key(1), traj.transitions.log_prob.shape)
    agents, _ = jax.jit(loop.sweep.improve)(
        state.learnt.agents, traj, advantage, *jax.random.split(jax.random.key(2)), 0.5
    )
    jax.block_until_ready(agents)

    @jax.jit
    def ratios(params):
        batches = loop.sweep.batches(traj, advantage)
        return jnp.exp(jax.vmap(loop.policy.evaluate_actions)(params, batches).log_prob - batches.log_prob)

    ratio = np.asarray(ratios(agents.params))[0]
    assert {float(p) for *_, p in seen} == {0.5} and {int(i) for _, agent, _ in seen for i in np.unique(agent)} == {
        0,
        1,
    }
    for m, agent, _ in seen:
        np.testing.assert_allclose(m, np.where(agent == 0, 1.0, ratio), rtol=1e-5)
    assert np.abs(ratio - 1).max() > 0.01


def _recorded(seen, ratio, *given):
    jax.debug.callback(lambda *x: seen.append(x), *given)
    return jnp.zeros_like(ratio)


SIGNATURES = {
    "positional only": lambda r, a, /: (r - 1) ** 2,
    "any arguments": lambda *x: (x[0] - 1) ** 2,
    "a parameter by either": lambda r, a, weight=2.0: weight * (r - 1) ** 2 / 2,
    "any keywords": lambda r, a, **more: (r - 1) ** 2,
    "all of it": lambda r, a, /, *, reverse_kl, kl: (r - 1) ** 2 + 0 * kl + 0 * reverse_kl,
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_every_signature_that_takes_the_two_is_called_right(name):
    hamljax.register_drift("mine")(SIGNATURES[name])
    make_learner(config(drift="mine"))
    drift = haml.bind_drift(haml.DRIFTS["mine"], {})
    np.testing.assert_allclose(drift(jnp.array([[1.5]]), jnp.ones((1, 1)), {"kl": 1.0, "reverse_kl": 2.0}), [[0.25]])


def test_a_parameter_by_place_or_name_is_set_by_name():
    hamljax.register_drift("mine")(lambda r, a, weight=2.0: weight * (r - 1) ** 2)
    assert haml.DRIFTS["mine"].parameters.names == ("weight",)
    drift = haml.bind_drift(haml.DRIFTS["mine"], config(drift="mine", drift_params={"weight": 4}).algo.drift_params)
    np.testing.assert_allclose(drift(jnp.array([1.5]), None, None), [1.0])


@pytest.mark.parametrize(
    "function", [lambda r: r, lambda *, ratio, m_advantage: ratio, lambda r, a, eps, /: r, 3, None]
)
def test_a_function_that_cannot_be_called_so_is_refused(function):
    with pytest.raises(ValueError, match="drift 'mine': it must "):
        hamljax.register_drift("mine")(function)


# ROWS


@pytest.mark.parametrize(
    "row, complaint",
    [
        (hamljax.Algorithm("sequential", "clp", "everywhere"), "unknown drift 'clp'; did you mean 'clip'?"),
        (hamljax.Algorithm("parallel", "clip", "everywhere"), "unknown coordination 'parallel'"),
        (hamljax.Algorithm("sequential", "clip", "kl_bal"), "unknown neighbourhood 'kl_bal'; did you mean 'kl_ball'?"),
        (hamljax.OffPolicyAlgorithm("sequential", "stochastc", 1, 0.0, 1), "unknown actor 'stochastc'; did you mean"),
    ],
)
def test_a_row_that_names_what_is_not_there_is_named_where_it_is_chosen(row, complaint, capsys):
    hamljax.register_algorithm("mine", row)
    assert main(["train", "env=game/climbing", "algo=mine", "total_timesteps=16384"]) == 2
    err = capsys.readouterr().err
    assert complaint in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "row, complaint",
    [
        ("sequential", "must be an Algorithm or an OffPolicyAlgorithm"),
        (hamljax.Algorithm(["sequential"], "clip", "everywhere"), "coordination must be a str"),
        (hamljax.Algorithm("sequential", lambda r, a: r, "everywhere"), "drift must be a str"),
        (hamljax.OffPolicyAlgorithm("sequential", "deterministic", "2", 0.0, 1), "critics must be a int of at least 1"),
        (hamljax.OffPolicyAlgorithm("sequential", "deterministic", 0, 0.0, 1), "critics must be a int of at least 1"),
        (
            hamljax.OffPolicyAlgorithm("sequential", "deterministic", 1, -1.0, 1),
            "target_noise must be a float of at least 0",
        ),
        (
            hamljax.OffPolicyAlgorithm("sequential", "deterministic", 1, 0.0, 0.5),
            "policy_delay must be a int of at least 1",
        ),
    ],
)
def test_a_row_of_another_kind_is_refused_where_it_is_registered(row, complaint):
    with pytest.raises(ConfigError, match=complaint):
        hamljax.register_algorithm("mine", row)
    assert "mine" not in algorithms.ALGORITHMS


def test_a_row_of_ones_own_trains_from_the_command_line_and_from_python():
    hamljax.register_algorithm("mine", hamljax.Algorithm("simultaneous", "spo", "everywhere", "mine"))
    made = make_job([*TINY, "algo=mine"]).config
    assert made.algo == hamljax.Algo(name="mine")
    assert algorithms.resolve(made.algo).drift == "spo"


# NUMBERS


def test_a_whole_number_stands_for_a_float_whoever_says_it():
    for one in (1, np.int64(1), np.float32(1), np.array(1), jnp.array(1)):
        made = config(std_x_coef=one, clip_eps=one, gamma=one)
        again = made.replace(algo=made.algo.replace(kl_coef=one), network=hamljax.Network(std_x_coef=one))
        for x in (made.network.std_x_coef, made.gamma, again.algo.kl_coef, again.network.std_x_coef):
            assert jnp.issubdtype(jnp.result_type(x), jnp.floating) and x == 1
    learner = make_learner(base("game/tracking").replace(std_x_coef=1))
    params = jax.eval_shape(learner.init, jax.random.key(0)).learnt.agents.params
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def test_every_float_of_a_configuration_takes_a_whole_number():
    """By its type, so that a field that is added is among them."""
    for kind in (hamljax.Algo, hamljax.OffPolicyAlgo, hamljax.Network):
        made = kind(**{f.name: 1 for f in kind.__dataclass_fields__.values() if f.type is float})
        assert all(isinstance(x, float) for x in jax.tree.leaves(made))


@pytest.mark.parametrize(
    "name, values",
    [
        ("clip_eps", [True, np.bool_(True), "wide", None, ["wide"], 1j, object()]),
        ("num_envs", [True, "4.5", 4.5, None, [4], float("nan"), float("inf"), 1j, object()]),
        ("anneal_lr", ["maybe", None, 0.5]),
        ("hidden_sizes", ["64", 64, [6.5], [True], [[8]], None]),
        ("drift_params", [3, "weight", {"clip_eps": "a"}, None]),
    ],
)
def test_what_is_no_such_value_is_one_line_from_python_too(name, values):
    for value in values:
        with pytest.raises(ConfigError, match=rf"{name}(\.clip_eps)? must be") as error:
            config(**{name: value})
        assert "\n" not in str(error.value)


def test_whole_numbers_and_lists_are_read_as_they_are_meant():
    made = hamljax.config(
        "happo", "game/climbing", total_timesteps=1e6, num_envs=np.int32(8), hidden_sizes=[np.int64(8), 4.0]
    )
    assert (made.total_timesteps, made.num_envs, made.network.hidden_sizes) == (1_000_000, 8, (8, 4))
    hash(made.network.hidden_sizes)


def test_a_configuration_is_a_pytree_whatever_its_leaves_are():
    made = config(drift_params={"clip_eps": 1})
    leaves, tree = jax.tree.flatten(made)
    assert all(isinstance(x, float) for x in leaves) and jax.tree.unflatten(tree, leaves) == made
    for other in (None, object(), "a word", 3):
        assert jax.tree.unflatten(tree, [other] * len(leaves)).algo.drift_params["clip_eps"] is other
    axes = jax.tree.map(lambda x: 0, made)
    stacked = jax.tree.map(lambda x: jnp.array([x, 2 * x]), made)
    out = jax.vmap(lambda c: c.algo.clip_eps + c.algo.drift_params["clip_eps"], in_axes=(axes,))(stacked)
    np.testing.assert_allclose(out, [1.2, 2.4], rtol=1e-6)


def test_a_setting_that_two_groups_have_is_not_replaced_in_one_of_them_by_chance():
    with pytest.raises(ConfigError, match="'name' is a setting of each of algo, network"):
        config(name="haa2c")
    assert config(algo=hamljax.Algo(name="haa2c")).algo.name == "haa2c"
