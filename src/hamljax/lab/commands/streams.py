"""What becomes of lines that Hydra and its workers print."""

import io
from typing import Any


class WithoutOverrides(io.TextIOBase):
    """Standard error, but for a line that Hydra writes of a failed job, whose own line says what failed.

    Args:
        stream: where the others go.
    """

    def __init__(self, stream: Any):
        self.stream = stream

    def write(self, text: str) -> int:
        """``text``, unless it is such a line. Returns how long it was."""
        if not text.startswith("Error executing job with overrides"):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what was held back."""
        self.stream.flush()


class Prefixed(io.TextIOBase):
    """Whole lines, each of which says whose it is; no terminal, because several write to one.

    Args:
        stream: where they go. prefix: before each.
    """

    def __init__(self, stream: Any, prefix: str):
        self.stream, self.prefix, self.held = stream, prefix, ""

    def write(self, text: str) -> int:
        """``text``, of which the last line is held back until it is whole. Returns how long it was."""
        *lines, self.held = (self.held + text).split("\n")
        if lines:  # at once, so that no other process writes between them
            self.stream.write("".join(f"{self.prefix}{line}\n" for line in lines))
        return len(text)

    def flush(self) -> None:
        """Write the lines that are whole."""
        self.stream.flush()

    def close(self) -> None:
        """Write what is left."""
        if self.held:
            self.write("\n")
        self.stream.flush()
