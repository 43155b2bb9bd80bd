"""What a run leaves on disk: how it is written, found, damaged, read again. Nothing here needs JAX, but for checkpoints."""
