"""Set before JAX starts: two devices, so that seeds are spread as on a user's machine, and quick compilation."""

import os

# The generator of code is lab.machine's. Level 0 would be a little quicker, but with that generator it is wrong: a gradient
# whose value is finite became NaN.
COMPILATION = "--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false"

os.environ["JAX_NUM_CPU_DEVICES"] = "2"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {COMPILATION}"
