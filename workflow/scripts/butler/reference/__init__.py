"""The reference engine: a TurboMind workspace on the CPU, in fp32."""

import os

# Idle OpenMP threads spin by default. Decoding is many short parallel regions, and where other
# processes want the cores each barrier then costs a time slice. Set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
