"""Environments that live in host processes: a pool of workers on the trainer's side, hosts on the other."""
