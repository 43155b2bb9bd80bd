"""A gradient step of HADDPG, here and written plainly in PyTorch, on the same cores in one process.

    python experiments/against_pytorch.py          needs torch, which hamljax itself does not: pip install torch

The step is that of Algorithm 3 of the paper at the sizes of HalfCheetah 2x3: one critic of state and joint action, two
actors of 2 x 256 units, a batch of 1000; critic, both actors in turn, targets. Both clip gradients and use Adam.
"""

import copy
import os
import sys
import time

from hamljax.lab.configuration import machine

machine.prepare()

from hamljax.envs import make  # noqa: E402
from hamljax.lab.benchmarks.off_policy import step_speed  # noqa: E402

try:
    import torch
    from torch import nn
except ModuleNotFoundError:
    sys.exit("this comparison needs torch; pip install torch")

TASK, BATCH, HIDDEN, TAU, MAX_NORM = "halfcheetah_2x3", 1000, (256, 256), 0.005, 10.0


def network(*sizes: int, end=None) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers = []
    for before, after in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1], *([end] if end else []))


def climb(network, optimiser, loss) -> None:
    """One step of Adam down ``loss``, its gradient no longer than MAX_NORM."""
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), MAX_NORM)
    optimiser.step()


class HADDPG:
    """Plain, as one would write it: a list of actors, each with an optimiser of its own."""

    def __init__(self, obs_size: int, state_size: int, action_size: int, num_agents: int):
        self.actors = [network(obs_size, *HIDDEN, action_size, end=nn.Tanh()) for _ in range(num_agents)]
        self.critic = network(state_size + num_agents * action_size, *HIDDEN, 1)
        self.targets = copy.deepcopy([*self.actors, self.critic])
        self.actor_optimisers = [torch.optim.Adam(actor.parameters(), 5e-4) for actor in self.actors]
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), 1e-3)

    def step(self, obs, state, action, reward, discount, next_obs, next_state) -> None:
        """obs (B, N, O), state (B, S), action (B, N, A), reward and discount (B,)."""
        with torch.no_grad():
            then = [target(next_obs[:, i]) for i, target in enumerate(self.targets[:-1])]
            value = self.targets[-1](torch.cat([next_state, *then], -1))[:, 0]
            goal = reward + discount * value
        q = self.critic(torch.cat([state, action.flatten(1)], -1))[:, 0]
        climb(self.critic, self.critic_optimiser, ((q - goal) ** 2).mean())
        joint = list(action.unbind(1))
        for i in torch.randperm(len(self.actors)).tolist():
            mine = joint[:i] + [self.actors[i](obs[:, i])] + joint[i + 1 :]
            climb(self.actors[i], self.actor_optimisers[i], -self.critic(torch.cat([state, *mine], -1)).mean())
            with torch.no_grad():
                joint[i] = self.actors[i](obs[:, i])
        with torch.no_grad():
            for target, online in zip(self.targets, [*self.actors, self.critic], strict=True):
                for old, new in zip(target.parameters(), online.parameters(), strict=True):
                    old.lerp_(new, TAU)


def pytorch_speed(team, repeats: int = 50) -> float:
    """Seconds of a gradient step, the fastest of three rounds."""
    n, size = team.num_agents, team.action_size
    learner = HADDPG(team.obs_size, team.world_state_size, size, n)
    obs, next_obs = torch.randn(2, BATCH, n, team.obs_size)
    state, next_state = torch.randn(2, BATCH, team.world_state_size)
    batch = (
        obs,
        state,
        torch.rand(BATCH, n, size),
        torch.randn(BATCH),
        torch.full((BATCH,), 0.99),
        next_obs,
        next_state,
    )
    times = []
    for _ in range(4):
        began = time.perf_counter()
        for _ in range(repeats):
            learner.step(*batch)
        times.append((time.perf_counter() - began) / repeats)
    return min(times[1:])


def main() -> None:
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    theirs = pytorch_speed(make(f"mamujoco/{TASK}").team)
    ours, compiled = step_speed("haddpg", TASK, hidden_sizes=HIDDEN, batch_size=BATCH)
    print(f"HADDPG on {TASK}, batch {BATCH}, {HIDDEN}, {cores} threads each")
    print(f"  PyTorch {torch.__version__}: {1e3 * theirs:6.1f} ms a gradient step")
    print(f"  hamljax:          {1e3 * ours:6.1f} ms, compiled in {compiled:.1f} s")
    print(f"  ratio: {theirs / ours:.2f}")


if __name__ == "__main__":
    main()
