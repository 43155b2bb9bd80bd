"""HAPPO on real MuJoCo, learner included: here through the bridge, and written plainly in PyTorch on Gymnasium's AsyncVectorEnv.

    python experiments/against_pytorch_bridge.py [ROUNDS]     needs torch, gymnasium-robotics and gymnasium[mujoco]

HalfCheetah 2x3, 20 environments, rollouts of 200 steps, two actors and a critic of 2 x 128 units, 5 epochs of one minibatch:
the same shapes. Both run in turn, in processes of their own; what is compared is environment steps per second of CPU, of the
trainer and of all of its workers together, so that it does not matter who else uses the machine; steps per second of the clock
stand beside it.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

NUM_ENVS, NUM_STEPS, EPOCHS, WARM, UPDATES = 20, 200, 5, 2, 8
HIDDEN = (128, 128)
TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """What this process and all that it started have used so far."""
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        pid = int(stat.parent.name)
        parents[pid], used[pid] = int(fields[1]), (int(fields[11]) + int(fields[12])) / TICK
    mine = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return sum(used[pid] for pid in mine)


def timed(update) -> None:
    """Print steps per second of CPU and of the clock over some updates, after some that are not counted."""
    for _ in range(WARM):
        update()
    cpu, began = cpu_seconds(), time.perf_counter()
    for _ in range(UPDATES):
        update()
    steps = UPDATES * NUM_ENVS * NUM_STEPS
    print(steps / (cpu_seconds() - cpu), steps / (time.perf_counter() - began))


def ours(envs_per_worker: int) -> None:
    """``hamljax``: the learner and the loop of a run, without its record."""
    from hamljax.lab.configuration import machine

    machine.prepare()
    import jax

    import hamljax

    trainer = hamljax.make_learner(
        hamljax.config(
            "happo",
            hamljax.configure("bridge/mamujoco_halfcheetah_2x3", envs_per_worker=envs_per_worker),
            num_envs=NUM_ENVS,
            num_steps=NUM_STEPS,
            update_epochs=EPOCHS,
            critic_epochs=EPOCHS,
            hidden_sizes=HIDDEN,
            total_timesteps=1e6,
        )
    )
    state = [jax.jit(trainer.init)(jax.random.key(0))]

    def update():
        state[0] = jax.block_until_ready(trainer.update(state[0])[0])

    timed(update)
    trainer.env.close()


def theirs() -> None:
    """Plain PyTorch."""
    import gymnasium
    import numpy as np
    import torch
    from gymnasium_robotics.envs.multiagent_mujoco.mujoco_multi import MultiAgentMujocoEnv
    from torch import nn

    torch.set_num_threads(1)  # the fastest here: the other processor has the environments

    class Team(gymnasium.Env):
        """Both agents' observations beside each other, then the state of the world; both agents' actions beside each other."""

        def __init__(self):
            self.robot = MultiAgentMujocoEnv("HalfCheetah", "2x3", 1, local_categories=[["qpos", "qvel"], ["qpos"]])
            self.agents = self.robot.possible_agents
            seen = self._seen(self.robot.reset(seed=0)[0])
            self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, seen.shape, np.float32)
            self.action_space = gymnasium.spaces.Box(-1, 1, (6,), np.float32)

        def _seen(self, obs):
            return np.concatenate([*(obs[a] for a in self.agents), self.robot.state()]).astype(np.float32)

        def reset(self, *, seed=None, options=None):
            return self._seen(self.robot.reset(seed=seed)[0]), {}

        def step(self, action):
            obs, reward, terminated, truncated, _ = self.robot.step(
                dict(zip(self.agents, np.split(action, 2), strict=True))
            )
            over = all(terminated.values()), any(truncated.values())
            return self._seen(obs), float(reward[self.agents[0]]), *over, {}

    def network(inputs: int, outputs: int) -> nn.Sequential:
        layers, before = [], inputs
        for width in HIDDEN:
            layers += [nn.Linear(before, width), nn.ReLU()]
            before = width
        return nn.Sequential(*layers, nn.Linear(before, outputs))

    envs = gymnasium.vector.AsyncVectorEnv([Team] * NUM_ENVS)
    seen, _ = envs.reset(seed=0)
    robot = Team().robot
    sizes = [robot.observation_space(a).shape[0] for a in robot.possible_agents]
    first, second = sizes[0], sum(sizes)
    actors = [network(size, 3) for size in sizes]
    scales = [nn.Parameter(torch.zeros(3)) for _ in sizes]
    critic = network(seen.shape[1] - second, 1)
    steppers = [torch.optim.Adam([*a.parameters(), s], 5e-4, eps=1e-5) for a, s in zip(actors, scales, strict=True)]
    critic_stepper = torch.optim.Adam(critic.parameters(), 5e-4, eps=1e-5)
    moments = [np.zeros(seen.shape[1]), np.ones(seen.shape[1]), 1e-4]

    def normalised(x):
        batch_mean, batch_var, mean, var, count = x.mean(0), x.var(0), *moments
        total = count + len(x)
        delta = batch_mean - mean
        moments[0] = mean + delta * len(x) / total
        moments[1] = (var * count + batch_var * len(x) + delta**2 * count * len(x) / total) / total
        moments[2] = total
        return torch.as_tensor((x - moments[0]) / np.sqrt(moments[1] + 1e-8), dtype=torch.float32)

    def split(x):
        return x[..., :first], x[..., first:second], x[..., second:]

    def policy(i, obs):
        return torch.distributions.Normal(actors[i](obs), scales[i].exp())

    def climb(stepper, loss):
        stepper.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([p for group in stepper.param_groups for p in group["params"]], 10.0)
        stepper.step()

    at = [normalised(seen)]

    def update():
        rows = {name: [] for name in ("seen", "action", "log_prob", "reward", "end", "value")}
        with torch.no_grad():
            for _ in range(NUM_STEPS):
                parts = split(at[0])
                acting = [policy(i, parts[i]) for i in range(2)]
                action = [p.sample() for p in acting]
                rows["log_prob"].append(
                    torch.stack([p.log_prob(a).sum(-1) for p, a in zip(acting, action, strict=True)], -1)
                )
                rows["seen"].append(at[0])
                rows["action"].append(torch.cat(action, -1))
                rows["value"].append(critic(parts[2])[:, 0])
                seen, reward, terminated, truncated, _ = envs.step(rows["action"][-1].clamp(-1, 1).numpy())
                rows["reward"].append(torch.as_tensor(reward, dtype=torch.float32))
                rows["end"].append(torch.as_tensor(terminated | truncated, dtype=torch.float32))
                at[0] = normalised(seen)
            traj = {name: torch.stack(x) for name, x in rows.items()}
            after, advantage, advantages = critic(split(at[0])[2])[:, 0], 0.0, []
            for t in reversed(range(NUM_STEPS)):
                alive = 1 - traj["end"][t]
                delta = traj["reward"][t] + 0.99 * alive * after - traj["value"][t]
                advantage = delta + 0.99 * 0.95 * alive * advantage
                advantages.append(advantage)
                after = traj["value"][t]
            advantage = torch.stack(advantages[::-1])
            target = (advantage + traj["value"]).flatten()
            m = ((advantage - advantage.mean()) / (advantage.std() + 1e-8)).flatten()
        parts = [x.flatten(0, 1) for x in split(traj["seen"])]
        action, old = traj["action"].flatten(0, 1), traj["log_prob"].flatten(0, 1)
        for i in torch.randperm(2).tolist():
            mine = action[:, 3 * i : 3 * i + 3]
            for _ in range(EPOCHS):
                now = policy(i, parts[i])
                ratio = (now.log_prob(mine).sum(-1) - old[:, i]).exp()
                gain = torch.minimum(ratio * m, ratio.clamp(0.8, 1.2) * m).mean() + 0.01 * now.entropy().sum(-1).mean()
                climb(steppers[i], -gain)
            with torch.no_grad():
                m = m * (policy(i, parts[i]).log_prob(mine).sum(-1) - old[:, i]).exp()
        for _ in range(EPOCHS):
            climb(critic_stepper, nn.functional.huber_loss(critic(parts[2])[:, 0], target, delta=10.0))

    timed(update)
    envs.close()


def main(rounds: int) -> None:
    arms = {"PyTorch, AsyncVectorEnv": ["theirs"], "hamljax": ["ours", "0"], "hamljax, 1 per worker": ["ours", "1"]}
    found = {arm: [] for arm in arms}
    for _ in range(rounds):
        for arm, words in arms.items():
            done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            found[arm].append([float(x) for x in done.stdout.splitlines()[-1].split()])
    plain = sorted(cpu for cpu, _ in found["PyTorch, AsyncVectorEnv"])[rounds // 2]
    here = f"{NUM_ENVS} environments, {len(os.sched_getaffinity(0))} processors"
    print(f"HAPPO on HalfCheetah 2x3 in MuJoCo, {here}; the median of {rounds} rounds in turn")
    for arm, rows in found.items():
        cpu, clock = (sorted(column)[rounds // 2] for column in zip(*rows, strict=True))
        print(f"  {arm:<24} {cpu:7.0f} steps per second of CPU ({cpu / plain:.2f}), {clock:7.0f} per second")


if __name__ == "__main__":
    if sys.argv[1:2] == ["ours"]:
        ours(int(sys.argv[2]))
    elif sys.argv[1:] == ["theirs"]:
        theirs()
    else:
        main(int((sys.argv[1:] or [3])[0]))
