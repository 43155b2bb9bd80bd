"""The on-policy loop of HAML, written once: collect a rollout, estimate advantages, sweep the agents, fit the critic.

Shapes: T steps, E environments, N agents, P policies of B samples per step (see ``layout``), K values per step.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...envs.autoreset import vectorise
from ...envs.protocol import Environment, Observation
from ...haml.objective import weighted_mean
from ...haml.solvers import Agent
from ..batching import one_at_a_time_on_cpu
from ..config import Config
from ..normalisation import ObsNorm, ValueNorm, normalise_advantages, normalises
from ..state import Players, Stage, episode_metrics, guard, play_on, players_of, see
from .critics import Critics
from .returns import calculate_gae
from .sweep import MirrorSweep
from .trajectory import Trajectory, Transition, to_chunks


class RunnerState(NamedTuple):
    """All that training carries from one update to the next; saving it saves the run."""

    agents: Agent  # stacked on the policy axis (P, ...)
    critic: Agent
    value_norm: ValueNorm
    obs_norm: ObsNorm | None
    env_state: Any
    observation: Observation  # (E, ...)
    start: jax.Array  # (E,) bool: the next step begins an episode
    actor_carry: jax.Array  # (P, B, H)
    critic_carry: jax.Array  # (E * K, H)
    key: jax.Array
    eval_key: jax.Array  # never changes: evaluations derive their keys from it
    num_updates: jax.Array  # () int32
    skipped: jax.Array  # () int32: how many updates in a row, up to now, were not taken because of a non-finite number

    @property
    def players(self) -> Players:
        return players_of(self)


LEARNT = ("agents", "critic", "value_norm", "obs_norm")  # fields of a runner state that an update improves


class OnPolicy:
    """The pure functions of one configuration: ``init``, ``collect``, ``learn`` and their composition ``update``."""

    def __init__(self, config: Config, env: Environment):
        self.config, self.env, self.vec = config, env, vectorise(env, config.num_envs)
        self.policies = MirrorSweep(config, env.team)
        self.critics = Critics(config, self.policies.layout)

        # The floats of the configuration may be batched too, so they are an argument. What is compiled within another
        # program is traced once, however many times that program is.
        def learn(config, state, traj):
            return OnPolicy(config, env)._learn(state, traj)

        self._learn_in_turn = one_at_a_time_on_cpu(jax.jit(learn, inline=True))

    def init(self, key) -> RunnerState:
        """The state of a run that has not begun."""
        env_key, policy_key, critic_key, run_key, eval_key = jax.random.split(key, 5)
        stage = Stage.open(self.vec, env_key, self.policies.initial_carry(), run_key)
        critic, critic_carry = self.critics.init(critic_key, stage.observation)
        return RunnerState(
            self.policies.init(policy_key, stage.observation),
            critic,
            ValueNorm.create(self.config.algo.value_norm),
            ObsNorm.create(self.env.team) if normalises(self.config, self.env) else None,
            **stage._asdict(),
            critic_carry=critic_carry,
            eval_key=eval_key,
            num_updates=jnp.zeros((), jnp.int32),
            skipped=jnp.zeros((), jnp.int32),
        )

    def reopen(self, state: RunnerState) -> RunnerState:
        """``state`` with fresh episodes."""
        stage = Stage.reopen(self.vec, self.policies.initial_carry(), state)
        return state._replace(**stage._asdict(), critic_carry=jnp.zeros_like(state.critic_carry))

    def collect(self, state: RunnerState) -> tuple[RunnerState, Trajectory]:
        """Act for T steps in E environments with the policies of ``state``."""
        act, keep = partial(self.act, state), partial(self.keep, state)

        def chunk_of_steps(stage, _):
            after, transitions = play_on(self.vec, act, keep, stage, self.chunk)
            return after, (transitions, stage.actor_carry)

        stage, (transitions, memory) = jax.lax.scan(
            chunk_of_steps, Stage.of(state), None, length=self.config.num_steps // self.chunk
        )
        transitions = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), transitions)
        return state._replace(**stage._asdict()), self.pack(transitions, memory)

    pack = staticmethod(Trajectory)  # the steps of a rollout and the actors' memory at the start of every chunk

    @property
    def chunk(self) -> int:
        """Steps between two times that the actors' memory is written down."""
        return self.config.chunk_length if self.config.network.gru_size else self.config.num_steps

    def act(self, state: RunnerState, stage: Stage, key):
        """What ``play_on`` asks for: one decision of the policies of ``state``."""
        seen = see(state, self.env.team, stage.observation)
        carry, action, *more = self.policies.act(state.agents.params, stage.actor_carry, key, seen, stage.start)
        return carry, self.policies.as_played(action), (action, *more)

    def keep(self, state: RunnerState, stage: Stage, played, decision, out) -> Transition:
        """What remains of a step."""
        del state, played
        final = self.critics.view(out.final)
        end = (out.reward, out.terminated, out.truncated, final, out.metrics, out.valid)
        return Transition(stage.observation, stage.start, *decision, *end)

    def learn(self, state: RunnerState, traj: Trajectory) -> tuple[RunnerState, dict[str, jax.Array]]:
        """Improve policies and critic on a rollout. Returns scalar metrics (``train/...``).

        An update that made anything non-finite is not taken, and counts in ``train/skipped``.
        """

        learnt, info = self._learn_in_turn(self.config, state, traj)
        state, skipped = guard(state, learnt, info, LEARNT)
        steps = traj.transitions
        metrics = {**episode_metrics(steps, steps.observation), **info, "skipped": skipped}
        return state, {f"train/{name}": value for name, value in metrics.items()}

    def _learn(self, state, traj):
        key, order_key, actor_key, critic_key = jax.random.split(state.key, 4)
        steps, team = traj.transitions, self.env.team
        if (
            steps.valid is None
        ):  # true, which the compiler cannot know: it adds up in one order, whether steps can be lost or not
            steps = steps._replace(valid=jnp.full(steps.start.shape, state.num_updates >= 0))
        steps = steps.without_lost()
        visible, teaches = team.visible(steps.observation), self._teaches(steps)
        seen = steps._replace(observation=see(state, team, steps.observation), final=see(state, team, steps.final))
        traj = traj._replace(transitions=_silenced(seen, teaches))

        # ADVANTAGES
        critic_carry, values, batch = self.critics.values(state.critic.params, state.critic_carry, traj, teaches)
        advantage, target = self._advantages(state.value_norm, traj, values, teaches)

        # POLICIES
        progress = state.num_updates / self.config.num_updates
        agents, actor_info = self.policies.sweep(state.agents, traj, advantage, order_key, actor_key, progress)

        # CRITIC
        batch = batch._replace(target=to_chunks(target.reshape(target.shape[0], -1), self.config.chunk_length))
        critic, value_norm, critic_info = self.critics.fit(state.critic, state.value_norm, batch, critic_key)

        state = state._replace(
            agents=agents,
            critic=critic,
            value_norm=value_norm,
            # The rollout was seen through the old one.
            obs_norm=state.obs_norm and state.obs_norm.update(visible, steps.valid),
            critic_carry=critic_carry,
            key=key,
            num_updates=state.num_updates + 1,
        )
        aim = weighted_mean(jnp.mean(target, axis=-1), teaches)
        return state, {**actor_info, **critic_info, "value_target": aim}

    def update(self, state: RunnerState) -> tuple[RunnerState, dict[str, jax.Array]]:
        """One iteration: ``collect`` and ``learn``."""
        return self.learn(*self.collect(state))

    def evidence(self, state: RunnerState) -> Trajectory:
        """What the next update would learn from."""
        return self.collect(state)[1]

    def _teaches(self, steps: Transition):
        """(T, E) bool: the steps to learn from, which are neither lost nor dropped at a time limit."""
        return steps.valid & ~steps.truncated if self.config.truncation == "drop" else steps.valid

    def _advantages(self, value_norm: ValueNorm, traj: Trajectory, values, teaches):
        """Advantages (T, E, N), normalised over the samples of living agents, and value targets (T, E, K)."""
        steps, config = traj.transitions, self.config
        value, next_value = (value_norm.denormalise(v) for v in values)
        reward, terminated, truncated = (x[..., None] for x in (steps.reward, steps.terminated, steps.truncated))
        if config.truncation == "terminal":
            terminated = terminated | truncated
        advantage, target = calculate_gae(
            reward, value, next_value, terminated, truncated, config.gamma, config.gae_lambda, ~teaches[..., None]
        )
        alive = steps.observation.alive
        advantage = jnp.broadcast_to(advantage, alive.shape)
        if config.algo.normalise_advantages:
            advantage = normalise_advantages(advantage, alive)
        return advantage, target


def _silenced(steps: Transition, teaches) -> Transition:
    """``steps`` whose agents count as dead where the step does not teach: policies learn from living agents alone."""
    observation = steps.observation
    return steps._replace(observation=observation._replace(alive=observation.alive & teaches[..., None]))
