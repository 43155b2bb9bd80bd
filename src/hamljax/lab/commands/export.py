"""``hamljax export``: the actors of a run as safetensors, with a JSON file that says what each array is; or scores of runs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ...algorithms.policies.independent import IndependentPolicies
from ...envs.protocol import Team
from ...errors import ConfigError, one_of
from ..configuration.arguments import any_text, checkpoint, file, read_arguments, read_several
from ..runs.trained import Trained, load
from ..storage.files import replaced, write_json
from ..storage.paths import output_file, path_of, writing
from ..studies.leaderboard import lines_at
from ..studies.marl_eval import as_marl_eval

ROLES = {
    "kernel": "weights (inputs, outputs): y = x @ kernel + bias",
    "bias": "bias",
    "scale": "factor of a layer norm",
    "log_std": "raw standard deviation of every action dimension: std = std_y_coef * sigmoid(log_std / std_x_coef)",
    "mean": "running mean of the observation of every agent (agents, entries)",
    "variance": "running variance of the observation of every agent (agents, entries)",
}


class Actors(NamedTuple):
    """Of which run to export the actors. ``out`` None: ``actors.safetensors`` in the run."""

    run: Path
    checkpoint: str = "last"
    out: Path | None = None
    plugin: str = ""


class Scores(NamedTuple):
    """Which runs to write for marl-eval, told apart ``by`` a setting (see ``groups_of``)."""

    paths: list[str]
    out: Path
    by: str = ""


Readers = dict[str, Callable[[str, str], Any]]
OF_ACTORS: Readers = {"checkpoint": checkpoint, "plugin": file, "out": partial(output_file, suffixes=(".safetensors",))}
OF_SCORES: Readers = {"by": any_text, "out": partial(output_file, suffixes=(".json",))}
FORMATS = ("safetensors", "marl_eval")


def read(words: list[str]) -> Actors | Scores:
    """``RUN... [format=...] [key=value...]`` of the command line -> what to export. Raises ConfigError for anything else."""
    formats = [word for word in words if word.startswith("format=")]
    rest = [word for word in words if word not in formats]
    if "marl_eval" not in [one_of("format", word.removeprefix("format="), FORMATS) for word in formats]:
        run, values = read_arguments("export", rest, OF_ACTORS)
        return Actors(run, **values)
    paths, values = read_several("export", rest, OF_SCORES, "folders of runs")
    return Scores(paths, **{"out": path_of(paths[0]) / "marl_eval.json", **values})


def arrays(team: Trained) -> dict[str, np.ndarray]:
    """``seed0/policy0/Body_0/Dense_0/kernel`` and so on, and ``seed0/observation/mean`` and ``variance``."""
    found: dict[str, np.ndarray] = {}
    for seed in team.seeds:
        actors = team.of_seed(seed)
        for path, x in jax.tree.leaves_with_path(actors.params["params"]):
            place = "/".join(key.key for key in path)
            found |= {f"seed{seed}/policy{p}/{place}": np.asarray(one) for p, one in enumerate(x)}
        if actors.obs_norm is not None:
            found[f"seed{seed}/observation/mean"] = np.asarray(actors.obs_norm.mean)
            found[f"seed{seed}/observation/variance"] = np.asarray(actors.obs_norm.variance)
    return found


def check_exportable(team: Trained) -> None:
    """Check that the team acts as the description below says.

    Raises:
        ConfigError: it does not.
    """
    algo: Any = team.config.algo
    if not isinstance(team.team_policy, IndependentPolicies):
        raise ConfigError(
            f"export explains independent policies, and '{team.job.resolved['run_dir']}' has algo.policy="
            f"{algo.policy}: hamljax.load(...).policy() acts by it"
        )


def description(team: Trained, named: dict[str, np.ndarray], which: str) -> dict[str, Any]:
    """All that somebody needs to run the arrays without this library, as plain data.

    Args:
        team: of independent policies.
        named: its arrays.
        which: the name of the checkpoint that they are from.
    """
    resolved, envs_team = team.job.resolved, team.env.team
    network = resolved["network"]
    assert isinstance(team.team_policy, IndependentPolicies)  # ``check_exportable``
    layout = team.team_policy.layout
    forward = [
        "x = the agent's observation, padded with zeros to obs_size; all zeros where the agent is not alive",
        "if there is observation/mean: x = clip((x - mean) / sqrt(max(variance, 1e-4)), -10, 10)",
        'if group_size > 1: x = x followed by group_size numbers: 1 at the agent\'s "member", 0 elsewhere',
        "if input_norm: x = layer norm of x over its real entries (input_norm/scale, bias; epsilon 1e-6)",
        "for every Dense_i: x = activation(x @ kernel + bias); if layer_norm: x = layer norm of x (LayerNorm_i)",
        "if gru_size: (a, b, c) = x @ input/kernel + input/bias, (d, e, f) = h @ kernel, split in three; r = sigmoid(a + d), "
        "z = sigmoid(b + e); x = h = (1 - z) * tanh(c + r * (f + bias)) + z * h, with h zero when an episode begins; if "
        "layer_norm: x = layer norm of x (the last LayerNorm_i), h as it is",
        "logits = x @ head/kernel + head/bias",
        "discrete: the action is the legal one with the largest logit; continuous: x = logits (off-policy: tanh(logits)), then "
        "for every dimension x = clip((low + high) / 2 + (high - low) / 2 * x, low, high), where low is not null (no bounds)",
    ]
    return {
        "environment": resolved["env"],
        "algorithm": resolved["algo"]["name"],
        "checkpoint": which,
        "updates": np.asarray(team.actors.num_updates).tolist(),
        "seeds": list(team.seeds),
        "agents": [
            {
                "policy": layout.policy_of[i],
                "member": layout.groups[layout.policy_of[i]].index(i),
                "obs_size": o,
                "action_size": a,
                **_bounds(envs_team, i),
            }
            for i, (o, a) in enumerate(zip(envs_team.obs_sizes, envs_team.action_sizes, strict=True))
        ],
        "obs_size": envs_team.obs_size,
        "action_size": envs_team.action_size,
        "discrete": envs_team.discrete,
        "group_size": layout.group_size,
        "network": network,
        "forward": forward,
        "arrays": {
            name: {"shape": list(x.shape), "dtype": str(x.dtype), "what": ROLES[name.split("/")[-1]]}
            for name, x in named.items()
        },
    }


def _bounds(team: Team, agent: int) -> dict[str, list[float]]:
    """``low`` and ``high`` of an agent's action dimensions; JSON has null for what is not finite."""
    if team.discrete:
        return {}
    size = team.action_sizes[agent]
    return {name: getattr(team, name)[agent, :size].tolist() for name in ("low", "high")}


def export(asked: Actors | Scores) -> str:
    """Write what is asked for.

    Returns:
        A line that says where.

    Raises:
        ConfigError: a run cannot be read or exported, or the files cannot be written.
    """
    return export_actors(asked) if isinstance(asked, Actors) else export_scores(asked)


def export_scores(asked: Scores) -> str:
    """Write the scores of runs as marl-eval reads them. Returns and raises as ``export``."""
    lines = lines_at(asked.paths)
    table = as_marl_eval(lines, asked.by)
    with writing(asked.out):
        write_json(asked.out, table)
    return f"{len(lines)} run(s) -> {asked.out}, as marl-eval reads them"


def export_actors(asked: Actors) -> str:
    """Write the arrays and their description. Returns and raises as ``export``."""
    from safetensors.numpy import save

    team = load(asked.run, asked.checkpoint, asked.plugin)
    check_exportable(team)
    out = asked.out or asked.run / "actors.safetensors"
    named = {name: np.ascontiguousarray(x) for name, x in arrays(team).items()}
    with writing(out.parent):
        with replaced(out) as unfinished:
            unfinished.write_bytes(save(named))
        write_json(out.with_suffix(".json"), description(team, named, asked.checkpoint))
    size = sum(x.nbytes for x in named.values()) / 2**20
    return f"{len(named)} arrays, {size:.1f} MiB -> {out}, described in {out.with_suffix('.json')}"
