"""The other side of the bridge: what runs in a worker process, in whatever interpreter, without hamljax."""
