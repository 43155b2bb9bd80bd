"""HAPPO in one file: the whole algorithm, without the library's, to be read from top to bottom.

Only environments, networks, the Gaussian and running statistics of returns are imported. It is the library's HAPPO number for
number: a test trains both from one state and compares what they have learnt.

    python examples/happo_in_one_file.py

Shapes: T steps, E environments, N agents, A action dimensions. Paper: Heterogeneous-Agent Mirror Learning, Algorithm
Template 1 with the drift of HAPPO (Appendix D) and the whole policy space as neighbourhood.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import hamljax
from hamljax.envs import VecEnv
from hamljax.nn.distributions import Gaussian
from hamljax.nn.networks import Actor, Critic, Network
from hamljax.nn.normalisation import ValueNorm

NUM_ENVS, NUM_STEPS, NUM_UPDATES = 64, 32, 30
GAMMA, LAMBDA, CLIP, VALUE_CLIP, HUBER, ENTROPY = 0.99, 0.95, 0.2, 0.2, 10.0, 0.01
RATE, EPOCHS, MAX_NORM = 2e-3, 5, 10.0

env = hamljax.make_env("game/tracking")  # three agents with two, one and three joints; each sees its own target
vec, team = VecEnv(env, NUM_ENVS), env.team
N, network = team.num_agents, Network(hidden_sizes=(32, 32))
actor, critic = Actor(network, team.action_size, Gaussian.head), Critic(network)
optimiser = optax.chain(optax.clip_by_global_norm(MAX_NORM), optax.adam(RATE, eps=1e-5))
legal = jnp.asarray(team.action_mask)  # (N, A) bool: the dimensions that an agent has


class State(NamedTuple):
    actors: Any  # parameters, stacked on a leading axis of agents (N, ...)
    actor_opt: Any  # likewise
    critic: Any
    critic_opt: Any
    value_norm: ValueNorm
    env_state: Any
    seen: Any  # what the team sees now: obs (E, N, O), world_state (E, S)
    key: jax.Array


class Steps(NamedTuple):
    """A rollout: T transitions, leaves (T, E, ...)."""

    obs: jax.Array
    world_state: jax.Array
    action: jax.Array
    log_prob: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    final_state: jax.Array  # the world state that followed, before any reset


def no_memory(batch):
    return jnp.zeros((batch, 0)), jnp.zeros((1, batch), bool)


def policy(params, obs):
    """Logits (B, 2, A) of one agent's observations (B, O)."""
    memory, start = no_memory(len(obs))
    return actor.apply(params, memory, obs[None], start, None)[2][0]


def value(params, world_state):
    """V (B,) of world states (B, S), in units of ``value_norm``."""
    memory, start = no_memory(len(world_state))
    return critic.apply(params, memory, world_state[None], start, None)[2][0]


def init(key) -> State:
    env_key, actor_key, critic_key, key = jax.random.split(key, 4)
    env_state, seen = vec.reset(env_key)
    memory, start = no_memory(1)
    actors = jax.vmap(lambda key: actor.init(key, memory, seen.obs[:1, :1, :][0][None], start, None))(
        jax.random.split(actor_key, N)
    )
    params = critic.init(critic_key, memory, seen.world_state[:1][None], start, None)
    return State(
        actors,
        jax.vmap(optimiser.init)(actors),
        params,
        optimiser.init(params),
        ValueNorm.create(True),
        env_state,
        seen,
        key,
    )


def collect(state: State) -> tuple[State, Steps]:
    """Act for T steps in E environments."""

    def step(state, _):
        key, act_key = jax.random.split(state.key)
        obs = jnp.swapaxes(team.visible(state.seen).obs, 0, 1)  # (N, E, O)
        mask = jnp.broadcast_to(legal[:, None], (N, NUM_ENVS, team.action_size))

        def act(params, key, obs, mask):
            logits = policy(params, obs)
            action = Gaussian.sample(key, logits, mask)
            return action, Gaussian.log_prob(logits, mask, action)

        action, log_prob = (
            jnp.swapaxes(x, 0, 1) for x in jax.vmap(act)(state.actors, jax.random.split(act_key, N), obs, mask)
        )
        env_state, out = vec.step(state.env_state, team.from_unit(action))
        seen = state.seen
        row = Steps(
            seen.obs,
            seen.world_state,
            action,
            log_prob,
            out.reward,
            out.terminated,
            out.truncated,
            out.final.world_state,
        )
        return state._replace(env_state=env_state, seen=out.observation, key=key), row

    return jax.lax.scan(step, state, None, length=NUM_STEPS)


def gae(steps: Steps, values, final_values):
    """Advantages (T, E): sums of temporal differences, cut at the ends of episodes; a time limit bootstraps."""
    delta = steps.reward + GAMMA * jnp.where(steps.terminated, 0.0, final_values) - values
    goes_on = 1.0 - (steps.terminated | steps.truncated)

    def backward(following, x):
        delta, goes_on = x
        advantage = delta + GAMMA * LAMBDA * goes_on * following
        return advantage, advantage

    return jax.lax.scan(backward, jnp.zeros_like(delta[0]), (delta, goes_on), reverse=True)[1]


def learn(state: State, steps: Steps) -> tuple[State, dict]:
    key, order_key, *_ = jax.random.split(state.key, 4)
    samples = NUM_STEPS * NUM_ENVS
    # One agent's samples, environment by environment and step by step: (N, E, T, ...) -> (N, E * T, ...).
    by_agent = lambda x: jnp.moveaxis(x, 2, 0).swapaxes(1, 2).reshape(N, samples, *x.shape[3:])  # noqa: E731
    flat = lambda x: x.swapaxes(0, 1).reshape(samples, *x.shape[2:])  # noqa: E731

    # ADVANTAGES: of the team, the same for all agents; values come out of the critic divided by the returns' deviation
    world_state = flat(steps.world_state)
    old_value = value(state.critic, world_state)
    final_value = value(state.critic, flat(steps.final_state))
    unflat = lambda x: x.reshape(NUM_ENVS, NUM_STEPS).T  # noqa: E731
    values, final_values = (state.value_norm.denormalise(unflat(x)) for x in (old_value, final_value))
    advantage = gae(steps, values, final_values)
    target = flat(advantage + values)
    advantage = flat((advantage - advantage.mean()) / (advantage.std() + 1e-5 * jnp.sqrt(jnp.mean(advantage**2))))

    # POLICIES: in a random order; each climbs M A, with M the joint ratio of the agents that have moved already
    obs, action, old_log_prob = by_agent(steps.obs), by_agent(steps.action), by_agent(steps.log_prob)

    def update(carry, i):
        actors, opt_states, log_m = carry
        mask = jnp.broadcast_to(legal[i], action[i].shape)
        m_advantage = jnp.exp(log_m) * advantage

        def loss(params):
            logits = policy(params, obs[i])
            ratio = jnp.exp(Gaussian.log_prob(logits, mask, action[i]) - old_log_prob[i])
            clipped = jnp.clip(ratio, 1 - CLIP, 1 + CLIP)
            gain = jnp.minimum(ratio * m_advantage, clipped * m_advantage)
            return -jnp.mean(gain) - ENTROPY * jnp.mean(Gaussian.entropy(logits, mask))

        def epoch(agent, _):
            params, opt_state = agent
            updates, opt_state = optimiser.update(jax.grad(loss)(params), opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        agent = jax.tree.map(lambda x: x[i], (actors, opt_states))
        agent, _ = jax.lax.scan(epoch, agent, None, length=EPOCHS)
        log_prob = Gaussian.log_prob(policy(agent[0], obs[i]), mask, action[i])
        actors, opt_states = jax.tree.map(lambda xs, x: xs.at[i].set(x), (actors, opt_states), agent)
        return (actors, opt_states, log_m + log_prob - old_log_prob[i]), None

    start = (state.actors, state.actor_opt, jnp.zeros(samples))
    (actors, actor_opt, log_m), _ = jax.lax.scan(update, start, jax.random.permutation(order_key, N))

    # CRITIC: Huber's loss, the new value kept near the old one, in units of the running deviation of the returns
    def regress(carry, _):
        params, opt_state, value_norm = carry
        value_norm = value_norm.update(target, seen=jnp.ones(samples, bool))
        wanted = value_norm.normalise(target)

        def loss(params):
            new = value(params, world_state)
            near = old_value + jnp.clip(new - old_value, -VALUE_CLIP, VALUE_CLIP)
            return jnp.mean(jnp.maximum(*(optax.huber_loss(x, wanted, delta=HUBER) for x in (new, near))))

        updates, opt_state = optimiser.update(jax.grad(loss)(params), opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, value_norm), None

    start = (state.critic, state.critic_opt, state.value_norm)
    (params, critic_opt, value_norm), _ = jax.lax.scan(regress, start, None, length=EPOCHS)
    said = {"reward": steps.reward.mean(), "m": jnp.exp(log_m).mean()}
    return State(actors, actor_opt, params, critic_opt, value_norm, state.env_state, state.seen, key), said


def train(state: State, num_updates: int) -> tuple[State, dict]:
    return jax.lax.scan(lambda state, _: learn(*collect(state)), state, None, length=num_updates)


if __name__ == "__main__":
    _, said = jax.jit(lambda key: train(init(key), NUM_UPDATES))(jax.random.key(0))
    for number, (reward, m) in enumerate(zip(said["reward"], said["m"], strict=True), 1):
        print(f"update {number:2d}: reward of a step {reward:6.3f}, mean M {m:.3f}")
