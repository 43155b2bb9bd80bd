"""What is asked of an action distribution, and the shapes of its arrays; ``nn.distributions`` has those that ship.

Shapes: A actions, or action dimensions; any leading axes.
"""

from typing import ClassVar, Protocol

from jaxtyping import Array, Bool, Float, Int, Key

Avail = Bool[Array, "*batch A"]
OneKey = Key[Array, ""]
PerDecision = Float[Array, "*batch"]
Discrete = Int[Array, "*batch"]
Continuous = Float[Array, "*batch A"]
Logits = Float[Array, "*batch A"]  # of discrete actions
Heads = Float[Array, "*batch 2 A"]  # mean and log standard deviation


class Distribution(Protocol):
    """What a policy asks of the distribution on its head; ``logits`` and ``avail`` as ``nn.distributions`` has them."""

    head: ClassVar[str]  # of ``nn.networks.Actor``

    def sample(self, key: OneKey, logits: Array, avail: Avail) -> Discrete | Continuous:
        """Draw actions, with one key for all.

        Args:
            key: of the draw. logits: (..., A) or (..., 2, A), what the head returns. avail: (..., A).

        Returns:
            (...) int32 or (..., A).
        """
        ...

    def mode(self, logits: Array, avail: Avail) -> Discrete | Continuous:
        """The greedy actions.

        Args:
            logits, avail: as of ``sample``.
        """
        ...

    def log_prob(self, logits: Array, avail: Avail, action: Discrete | Continuous) -> PerDecision:
        """Logarithm of the probability (density) of actions.

        Args:
            logits, avail: as of ``sample``. action: as it gives them.
        """
        ...


class RolloutDistribution(Distribution, Protocol):
    """What learning from rollouts asks for beside that."""

    def entropy(self, logits: Array, avail: Avail) -> PerDecision:
        """In nats.

        Args:
            logits, avail: as of ``sample``.
        """
        ...

    def kl(self, logits: Array, other_logits: Array, avail: Avail) -> PerDecision:
        """KL(logits || other_logits) of whole actions, in nats.

        Args:
            logits, other_logits: of two policies in the same states. avail: of these.
        """
        ...


class ReplayDistribution(Distribution, Protocol):
    """What learning from a replay asks for beside that."""

    def kl(self, logits: Array, other_logits: Array, avail: Avail) -> PerDecision:
        """As of ``RolloutDistribution``; of stochastic actors alone.

        Args:
            logits, other_logits: of two policies in the same states. avail: of these.
        """
        ...

    def target_entropy(self, avail: Avail, scale: float | Array) -> PerDecision:
        """What the temperature of a stochastic actor keeps its entropy to, in nats.

        Args:
            avail: (..., A). scale: of the largest entropy there is, of discrete actions.
        """
        ...

    def sample_and_log_prob(self, key: OneKey, logits: Array, avail: Avail) -> tuple[Continuous, PerDecision]:
        """Actions as a critic sees them, through which gradients reach the logits, and their log-probabilities.

        Args:
            key, logits, avail: as of ``sample``.
        """
        ...

    def encode(self, action: Discrete | Continuous, avail: Avail) -> Continuous:
        """Actions as a critic sees them: (..., A) in [-1, 1] or one-hot.

        Args:
            action: as ``sample`` gives them. avail: (..., A).
        """
        ...

    def uniform(self, key: OneKey, avail: Avail) -> Discrete | Continuous:
        """Actions that are uniform over the legal ones, or over the bounds.

        Args:
            key: of the draw. avail: (..., A).
        """
        ...
