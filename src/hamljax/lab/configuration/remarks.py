"""What a person should be told of a configuration before it is trained."""

from ...algorithms.config import Config
from ...algorithms.table import family_of


def of_family(config: Config) -> str:
    """What a configuration has outside of ``algo`` because its row's family has it so, in words; empty: nothing."""
    family = family_of(config.algo.name)
    same = [f"{name}={value}" for name, value in family.elsewhere.items() if getattr(config, name) == value]
    return f"{' '.join(same)}: as {family.name} rows have it, unless something else is said" if same else ""


def whole_rollouts(config: Config) -> str:
    """What is trained where ``total_timesteps`` is no whole number of rollouts, in words; empty where it is one."""
    rollout = config.num_envs * config.num_steps
    trained, wanted = config.num_updates * rollout, int(config.total_timesteps)
    if trained == wanted:
        return ""
    return (
        f"total_timesteps={wanted:,} is not a whole number of rollouts of num_envs * num_steps = {config.num_envs} * "
        f"{config.num_steps} = {rollout:,} steps: {trained:,} steps are trained; the next number is {trained + rollout:,}"
    )
