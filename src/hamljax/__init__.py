"""Heterogeneous-Agent Mirror Learning in JAX."""

import importlib
from typing import Any

__version__ = "0.2.0"

# Public names and where they live; loaded on first use, so that ``hamljax --help`` does not wait for JAX.
_PUBLIC: dict[str, str | tuple[str, str]] = {
    "ALGORITHMS": "algorithms",
    "Algorithm": "algorithms.on_policy.rows",
    "OffPolicyAlgorithm": "algorithms.off_policy.rows",
    "register_algorithm": "algorithms",
    "register_family": "algorithms",
    "register_critic": "algorithms.on_policy.registry",
    "register_policy": "algorithms.on_policy.registry",
    "register_coordination": "haml",
    "register_drift": "haml",
    "register_neighbourhood": "haml",
    "register_order": "haml",
    "register_solver": "haml",
    "certify": "algorithms.on_policy.certification",
    "Certificate": "haml.certificate",
    "register_environment": "envs",
    "Environment": "envs",
    "Observation": "envs",
    "Step": "envs",
    "Team": "envs",
    "check_environment": "envs",
    "configure": "bridge",
    "make_env": ("bridge", "make"),
    "Algo": "algorithms.on_policy.settings",
    "Critic": "algorithms.base",
    "Estimate": "algorithms.base",
    "StateCritic": "algorithms.on_policy.critics",
    "TeamPolicy": "algorithms.base",
    "BaseLearner": "algorithms.learner",
    "ReplayLearner": "algorithms.off_policy.replay_learner",
    "AnyAlgo": "algorithms.config",
    "HamlAlgo": "algorithms.config",
    "OffPolicyAlgo": "algorithms.off_policy.settings",
    "Network": "nn.networks",
    "Config": "algorithms.config",
    "make_learner": "training.train",
    "make_train": "training.train",
    "exact_metrics": "training.exact",
    "config": "lab.configuration.in_python",
    "run": "lab.runs.from_python",
    "load": "lab.runs.trained",
    "load_scores": "lab.runs.scores",
    "statistics": ("lab.statistics", ""),  # the module itself
    "tabular": ("tabular", ""),
    "play_episodes": "lab.commands.evaluate",
    "ConfigError": "errors",
}
__all__ = sorted(_PUBLIC)  # noqa: PLE0605


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hamljax' has no attribute '{name}'")
    place = _PUBLIC[name]
    module, attribute = place if isinstance(place, tuple) else (place, name)
    found = importlib.import_module(f".{module}", __name__)
    return getattr(found, attribute) if attribute else found
