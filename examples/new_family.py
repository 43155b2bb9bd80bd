"""A family in a file of its own: agents learn what their actions are worth (Q-learning), as a team or each alone.

    hamljax train plugin=examples/new_family.py algo=vdn env=game/climbing num_seeds=2 total_timesteps=2e4 run_dir=runs/vdn
    hamljax train plugin=examples/new_family.py algo=iql env=smax/3m algo.sharing=all algo.n_step=5
    hamljax resume runs/vdn total_timesteps=4e4
    hamljax evaluate runs/vdn num_episodes=100 && hamljax export runs/vdn

A policy's head holds the values of its agent's actions, and the best legal one is played: evaluation, export and sharing
need nothing of their own. The replay and the loop of gradient steps are ``ReplayLearner``'s. Shapes: E environments,
N agents, A actions, P policies, B samples; K = 1 value, the team's, where ``mixing`` is ``sum``, and K = N where ``none``.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

import hamljax
from hamljax.algorithms.config import Sharing
from hamljax.algorithms.learner import normalises_observations, traced_once
from hamljax.algorithms.off_policy.replay import Sample
from hamljax.algorithms.off_policy.replay_learner import ReplayLearner
from hamljax.algorithms.policies.independent import IndependentPolicies
from hamljax.algorithms.state import RolloutState, RunnerState, see
from hamljax.algorithms.table import resolve
from hamljax.errors import one_of
from hamljax.haml import Agent, gradient_step, weighted_mean
from hamljax.nn.distributions import Categorical
from hamljax.nn.normalisation import ObsNorm
from hamljax.settings import POSITIVE, SHARE, Interval, config_dataclass, setting

MIXINGS = ("sum", "none")


@config_dataclass
class ValueAlgo(hamljax.AnyAlgo):
    """A value-based row and its hyper-parameters. mixing and sharing: None is what the row has."""

    name: str = "vdn"
    mixing: str | None = setting(None, choices=MIXINGS)
    sharing: Sharing | None = None
    lr: float = setting(5e-4, within=POSITIVE)
    buffer_size: int = setting(100_000, at_least=1)  # the last steps of all environments together
    batch_size: int = setting(128, at_least=1)
    learning_starts: int = setting(1_000, at_least=0)  # in steps; until then nothing is learnt
    gradient_steps: int = setting(16, at_least=1)  # in one update, after num_steps of every environment
    n_step: int = setting(1, at_least=1)
    tau: float = setting(0.01, within=Interval(0, 1, low_in=False, high_in=True))  # of targets, every gradient step
    # An action is random with a probability that falls linearly in the first epsilon_steps steps of all environments.
    epsilon_start: float = setting(1.0, within=SHARE)
    epsilon_end: float = setting(0.05, within=SHARE)
    epsilon_steps: int = setting(10_000, at_least=1)

    check = hamljax.OffPolicyAlgo.check  # of the replay, which is the same; it refuses recurrent networks, too

    def counts(self, config: hamljax.Config) -> int:
        """Steps of an environment, or of the optimiser."""
        return max(config.num_steps, self.gradient_steps)


@dataclasses.dataclass(frozen=True)
class ValueRow:
    """A row. mixing: ``sum``, the team's value is the sum of the living agents'; ``none``, each agent learns alone."""

    mixing: str
    summary: str = ""
    sharing: Sharing = "own"


@struct.dataclass
class EpsilonGreedy:
    """The legal action of the highest value, or with probability ``epsilon`` any legal one. values: (..., A), a head's."""

    epsilon: float
    head: ClassVar[str] = "logits"
    mode = staticmethod(Categorical.mode)

    def sample(self, key, values, avail):
        """Actions (...) int32."""
        any_key, key = jax.random.split(key)
        explores = jax.random.uniform(key, avail.shape[:-1]) < self.epsilon
        return jnp.where(explores, Categorical.uniform(any_key, avail), self.mode(values, avail))

    def log_prob(self, values, avail, action):
        """(...): of legal actions, as ``sample`` draws them."""
        explored = self.epsilon / jnp.maximum(jnp.sum(avail, axis=-1), 1)
        return jnp.log(explored + jnp.where(action == self.mode(values, avail), 1 - self.epsilon, 0.0))


class Learnt(NamedTuple):
    """What gradient steps improve (policies and their slow copies, (P, ...)), and how observations are normalised."""

    agents: Agent
    targets: Any
    obs_norm: ObsNorm | None


@struct.dataclass
class ValueBased(ReplayLearner):
    """Double Q-learning with slow targets (van Hasselt et al., 2016) of the sum of the living agents' values (VDN: Sunehag et
    al., 2017), or of each agent's: its reward is the team's, and its death is the end (IQL: Tan, 1993).
    """

    config: hamljax.Config
    policy: IndependentPolicies
    env: hamljax.Environment = struct.field(pytree_node=False)
    vec: Any = struct.field(pytree_node=False)
    step: Any = struct.field(pytree_node=False)

    @classmethod
    def create(cls, config: hamljax.Config, env: hamljax.Environment) -> "ValueBased":
        """The learner of a checked configuration. Raises ConfigError where it does not fit the team."""
        if not env.team.discrete:
            raise hamljax.ConfigError(f"{config.algo.name} needs discrete actions, and here they are continuous")
        sharing, distribution = resolve(config.algo).sharing, EpsilonGreedy(config.algo.epsilon_end)
        policy = IndependentPolicies.create(config.network, distribution, sharing, env.team)
        return cls(config, policy, env, env.vectorise(config.num_envs), traced_once(cls.gradient_step))

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam, for each policy by itself: one agent's large gradient is not to clip another's."""
        adam = self.config.adam(self.config.algo.lr, self.config.algo.gradient_steps)
        return optax.GradientTransformation(jax.vmap(adam.init), jax.vmap(adam.update))

    def init(self, key: jax.Array) -> RunnerState:
        """The state of a run that has not begun; ``carried`` counts gradient steps."""
        env_key, policy_key, run_key, eval_key = jax.random.split(key, 4)
        rollout = self.begin_rollout(env_key, run_key)
        params = self.policy.init(policy_key, rollout.observation)
        obs_norm = ObsNorm.create(self.env.team) if normalises_observations(self.config, self.env) else None
        learnt = Learnt(Agent(params, self.optimiser.init(params)), params, obs_norm)
        state = RunnerState.begin(learnt, rollout, jnp.zeros((), jnp.int32), eval_key)
        return state._replace(replay=self.empty_replay(state))

    def parameters(self, state: RunnerState) -> dict[str, Any]:
        """The parameters of its networks."""
        return {"actors": state.learnt.agents.params}

    def act(self, state: RunnerState, rollout: RolloutState, key):
        """One decision: the memory (none), and actions (E, N) for the environment and for the replay."""
        config, algo = self.config, self.config.algo
        share = jnp.float32(state.num_updates) * (config.num_envs * config.num_steps) / algo.epsilon_steps
        epsilon = algo.epsilon_start + jnp.minimum(share, 1.0) * (algo.epsilon_end - algo.epsilon_start)
        policy = self.policy.replace(distribution=EpsilonGreedy(epsilon))
        seen = see(state.learnt.obs_norm, self.env.team, rollout.observation)
        memory, action, _ = policy.act(state.learnt.agents.params, rollout.memory, key, seen, rollout.start)
        return memory, action, action

    def gradient_step(self, learnt: Learnt, count, sample: Sample, key):
        """One step on samples as the networks see them: what is learnt and ``count`` now, and numbers to report."""
        sample, (agents, targets, obs_norm) = sample.without_lost(), learnt
        observation, goal = sample.observation, self.target(agents.params, targets, sample)
        alive = observation.alive
        weight = jnp.any(alive, axis=-1, keepdims=True) if goal.shape[-1] == 1 else alive

        def loss(params):
            value = self.mixed(chosen(self.values(params, observation), sample.action), alive)
            return jnp.sum(jax.vmap(weighted_mean, -1)((value - goal) ** 2, weight))

        agents, error, norm = gradient_step(self.optimiser, loss, agents)
        targets = optax.incremental_update(agents.params, targets, self.config.algo.tau)
        info = {"value_loss": error, "grad_norm": norm, "value_target": weighted_mean(goal, weight)}
        return (Learnt(agents, targets, obs_norm), count + 1), (info, {})

    def target(self, params, targets, sample: Sample) -> jax.Array:
        """(B, K): ``R + discount Q'(s', argmax Q(s', .))`` over legal actions, Q by ``params`` and Q' by ``targets``."""
        final, discount = sample.final, sample.discount[:, None]
        best = self.policy.distribution.mode(self.values(params, final), final.avail_actions)
        value = self.mixed(chosen(self.values(targets, final), best), final.alive)
        return sample.reward[:, None] + jnp.where(discount > 0, discount * value, 0.0)

    def values(self, params, observation: hamljax.Observation) -> jax.Array:
        """(B, N, A): of all actions, by the heads of all policies, in observations (B, N, ...) as they see them."""
        start = jnp.ones(len(observation.alive), bool)
        memory = self.policy.initial_memory(len(start))
        return self.policy.act(params, memory, jax.random.key(0), observation, start, greedy=True)[2]["logits"]

    def mixed(self, values, alive) -> jax.Array:
        """Values of agents (B, N) -> (B, K); the dead have none."""
        values = jnp.where(alive, values, 0.0)
        return values.sum(axis=-1, keepdims=True) if resolve(self.config.algo).mixing == "sum" else values


def chosen(values, action) -> jax.Array:
    """Of values (B, N, A) those of ``action`` (B, N)."""
    return jnp.take_along_axis(values, action[..., None], axis=-1)[..., 0]


hamljax.register_family(
    "value-based",
    settings=ValueAlgo,
    row=ValueRow,
    learner=ValueBased.create,
    rows={"vdn": ValueRow("sum", "Value decomposition"), "iql": ValueRow("none", "Independent Q-learning")},
    check=lambda algo: one_of("algo.mixing", resolve(algo).mixing, MIXINGS),  # of a row of somebody else's
    elsewhere={"num_envs": 16, "num_steps": 16},
)
