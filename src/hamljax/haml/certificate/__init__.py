"""Whether a drift meets Definition 1: questions at points, a search for games, a proof over boxes, and a certificate."""

from .certificate import Certificate, Verdict, examine

__all__ = ["Certificate", "Verdict", "examine"]
