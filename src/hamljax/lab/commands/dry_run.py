"""``hamljax train dry_run=true``: what a run, or a sweep, would be, without training it."""

from collections.abc import Hashable

import jax

from ...training.train import make_learner
from ..configuration.jobs import Job
from ..configuration.remarks import of_family, whole_rollouts
from ..drawing.tables import print_facts, print_table, who_shares
from ..runs.memory import size_of
from ..runs.programs import AnyPrograms, HostPrograms, make_programs, program_of
from ..runs.progress import split_replay
from ..runs.reporter import clock
from ..runs.schedule import steps_per_update
from ..runs.trial import tried


def _mib(number: int) -> str:
    return f"{number / 2**20:,.1f} MiB"


def rows(job: Job) -> list[tuple[str, str]]:
    """(what, how much) of a job; compiles it.

    Raises:
        ConfigError: it cannot be made, or does not fit into this machine.
    """
    trainer, config, seeds = make_learner(job.config), job.config, job.run.num_seeds
    team = trainer.env.team
    programs = make_programs(trainer, seeds, bool(config.num_evals), job.run.devices_per_seed, job.configs)
    state = programs.shapes.state
    rollout = jax.eval_shape(trainer.learner.collect, jax.eval_shape(trainer.init, jax.random.key(0)))[1]
    _, held = split_replay(programs.shapes)
    replay = []
    if held is not None:
        text = f"{_mib(size_of(held)[1])} for all seeds, {held.steps.reward.shape[1]:,} steps of {config.num_envs} environments"
        replay = [("replay", f"{text}; checkpoint_replay=false leaves it out of checkpoints")]
    kind = "actions" if team.discrete else "dimensions"
    return [
        ("what", f"{config.algo.name} on {config.env.name}, {config.network.name}, {seeds} seed(s)"),
        (
            "agents",
            f"{team.num_agents}, each seeing {_sizes(team.obs_sizes)} numbers, {kind}: {_sizes(team.action_sizes)}",
        ),
        ("policies", who_shares(trainer.learner.policy.groups, getattr(config.algo, "group_ratio", "folded"))),
        *([("of its family", said)] if (said := of_family(config)) else []),
        ("world state", f"{team.world_state_size} numbers"),
        ("training", f"{config.num_updates} updates of {steps_per_update(job):,} steps, per seed"),
        *([("steps", rounded)] if (rounded := whole_rollouts(config)) else []),
        *(
            (what, f"{size_of(params)[0] // seeds:,} parameters per seed")
            for what, params in trainer.learner.parameters(state).items()
        ),
        *replay,
        ("a checkpoint", f"{_mib(size_of(programs.shapes)[1])} for all seeds"),
        ("a rollout", f"{_mib(size_of(rollout)[1])} per seed"),
        ("devices", _devices(programs)),
        ("memory", f"about {_mib(programs.bytes)} on each of {programs.sharding.mesh.size} device(s), by the compiler"),
        ("compile time", f"{programs.seconds:.1f} s"),
    ]


def _devices(programs: AnyPrograms) -> str:
    """What lies where."""
    mesh = dict(programs.sharding.mesh.shape)
    seeds, each = mesh["seeds"], mesh.get("batch", 1)
    if isinstance(programs, HostPrograms):
        return "1, and the environments in processes"
    told = f"{seeds * each}: seeds over {seeds}" if seeds > 1 else f"{each}"
    return told + (f", environments and minibatches of each seed over {each}" if each > 1 else "")


def _sizes(sizes: tuple[int, ...]) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else ", ".join(map(str, sizes))


def say_sweep(jobs: list[Job]) -> None:
    """Print what a sweep would be: how many jobs and programs, and what they would take here. Compiles each program once.

    Args:
        jobs: all of them.

    Raises:
        ConfigError: one cannot be made, or does not fit into this machine.
    """
    programs: dict[Hashable, list[Job]] = {}
    for job in jobs:
        mine = program_of(job.config, job.run.num_seeds), bool(job.run.per_seed), job.run.plugin
        programs.setdefault(mine, []).append(job)
    rows, seconds, size = [], 0.0, 0
    for number, alike in enumerate(programs.values(), start=1):
        one = alike[0]
        what = f"{one.config.algo.name} on {one.config.env.name}"
        print(f"[{number}/{len(programs)}] compiling {what}", flush=True)
        costs = tried(one)
        each = [costs.of(job) for job in alike]
        took, left = (sum(numbers) for numbers in zip(*each, strict=True))
        times = 1 if costs.shared else len(alike)
        seconds, size = seconds + times * costs.compiling + took, size + left
        speed = one.run.num_seeds * steps_per_update(one) / costs.update
        rows.append(
            (what, str(len(alike)), clock(costs.compiling), f"{speed:,.0f}", clock(took / len(alike)), clock(took))
        )
    print_table(("program", "jobs", "compile", "steps/s", "a job", "all of them"), rows)
    steps = sum(job.run.num_seeds * job.config.num_updates * steps_per_update(job) for job in jobs)
    print_facts(
        [
            ("jobs", f"{len(jobs):,}"),
            ("programs", f"{len(programs):,}; settings that differ in floats or seeds alone share one"),
            ("steps", f"{steps:,} of all seeds"),
            ("time", f"{clock(seconds)} here, one after another, at the speed of the first updates"),
            ("disk", f"{_mib(size)} of checkpoints at the end"),
        ]
    )
