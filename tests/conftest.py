"""Set before JAX starts: two devices, so that seeds are spread as on a user's machine, and quick compilation."""

import os

os.environ["JAX_NUM_CPU_DEVICES"] = "2"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
