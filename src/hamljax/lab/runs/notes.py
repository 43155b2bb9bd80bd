"""What is said of a run beside its numbers."""

from collections.abc import Callable, Mapping, Sequence


class Notes:
    """Tells of a run's troubles, of each once.

    Args:
        say: prints a line.
    """

    def __init__(self, say: Callable[[str], None]):
        self.say = say
        self.told = 0  # losses told of
        self.noted: set[str] = set()  # what was said once

    def once(self, what: str, note: str) -> None:
        """Say it, unless something was said of ``what`` already, or there is nothing to say."""
        if note and what not in self.noted:
            self.noted.add(what)
            self.say(f"note: {note}")

    def of_workers(self, losses: Sequence[str], notes: Mapping[str, str]) -> None:
        """Every loss of a worker that is new, and once what is to be said of the episodes.

        Args:
            losses: all so far. notes: by what they are about.
        """
        for loss in losses[self.told :]:
            self.say(f"note: {loss}; another took its place")
        self.told = len(losses)
        for what, note in notes.items():
            self.once(what, note)

    def of_the_stuck(self, count: int, steps: int) -> None:
        """Once: an agent had to act and could not.

        Args:
            count: how often, in the last updates. steps: up to which.
        """
        if count:
            self.once(
                "no_legal_action",
                f"{count:,} times in the last updates (up to step {steps:,}) an agent was alive and had no legal action: "
                f"one was drawn from all of its actions; mark such an agent as not alive, or give it an action that does nothing",
            )
