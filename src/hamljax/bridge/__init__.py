"""Environments that live in host processes: a pool of workers on the trainer's side, hosts on the other."""

from ..envs import configure, make
from . import families  # importing it registers its names
from .environment import HostEnvironment

__all__ = ["HostEnvironment", "configure", "families", "make"]
