"""The life of a run: programs, blocks of updates, evaluations, checkpoints, signals, loggers."""
