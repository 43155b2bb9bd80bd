"""Set before JAX starts: two devices, so that seeds are spread as on a user's machine, and quick compilation."""

import os

COMPILATION = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"  # the second as lab.machine has it
)

os.environ["JAX_NUM_CPU_DEVICES"] = "2"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {COMPILATION}"
