"""Heterogeneous-Agent Mirror Learning in JAX."""

import importlib

__version__ = "0.1.0"

# Public names and where they live; loaded on first use, so that ``hamljax --help`` does not wait for JAX.
_PUBLIC = {
    "ALGORITHMS": "algorithms",
    "Algorithm": "algorithms",
    "OffPolicyAlgorithm": "algorithms",
    "register_algorithm": "algorithms",
    "register_drift": "haml",
    "register_neighbourhood": "haml",
    "register_order": "haml",
    "register_solver": "haml",
    "register_environment": "envs",
    "Environment": "envs",
    "Observation": "envs",
    "Step": "envs",
    "Team": "envs",
    "check_environment": "envs",
    "configure": "bridge",
    "make_env": ("bridge", "make"),
    "Algo": "learning.config",
    "OffPolicyAlgo": "learning.config",
    "Network": "learning.config",
    "Config": "learning.config",
    "make_learner": "learning.train",
    "make_train": "learning.train",
    "config": "lab.configuration",
    "load": "lab.trained",
    "play_episodes": "lab.evaluation",
    "ConfigError": "errors",
}
__all__ = sorted(_PUBLIC)  # noqa: PLE0605


def __dir__():
    return __all__


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hamljax' has no attribute '{name}'")
    place = _PUBLIC[name]
    module, attribute = place if isinstance(place, tuple) else (place, name)
    return getattr(importlib.import_module(f".{module}", __name__), attribute)
