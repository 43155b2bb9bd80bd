"""``hamljax train dry_run=true``: what a run would be, without training it."""

import jax

from ...training.train import make_learner
from ..configuration.jobs import Job
from ..configuration.remarks import of_family, whole_rollouts
from ..drawing.tables import who_shares
from ..runs.programs import make_programs, size_of, split_replay
from ..runs.schedule import steps_per_update


def _mib(number: int) -> str:
    return f"{number / 2**20:,.1f} MiB"


def rows(job: Job) -> list[tuple[str, str]]:
    """(what, how much) of a job; compiles it.

    Raises:
        ConfigError: it cannot be made, or does not fit into this machine.
    """
    trainer, config, seeds = make_learner(job.config), job.config, job.run.num_seeds
    team = trainer.env.team
    programs = make_programs(trainer, seeds, bool(config.num_evals))
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
        ("memory", f"about {_mib(programs.bytes)} on each of {programs.sharding.mesh.size} device(s), by the compiler"),
        ("compile time", f"{programs.seconds:.1f} s"),
    ]


def _sizes(sizes: tuple[int, ...]) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else ", ".join(map(str, sizes))
