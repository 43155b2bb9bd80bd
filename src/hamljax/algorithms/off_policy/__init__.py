"""The off-policy family: a replay, critics of joint actions, policies that climb them, slow targets."""

from ..table import register_family
from .learner import OffPolicy
from .rows import ROWS, OffPolicyAlgorithm, check_names
from .settings import OffPolicyAlgo

register_family(
    "off-policy",
    settings=OffPolicyAlgo,
    row=OffPolicyAlgorithm,
    learner=OffPolicy.create,
    rows=ROWS,
    check=check_names,
    elsewhere={"num_envs": 16, "num_steps": 16},  # what suits a replay better than a rollout; for a CPU
    summary="learns from a replay",
)
