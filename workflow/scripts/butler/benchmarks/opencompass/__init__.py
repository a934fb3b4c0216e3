"""OpenCompass at work: what it is told, the parts it lacks, and the proof that it did it.

`plan` and `verify` run in the main environment; `build`, `parts` and `run_config` are loaded by
OpenCompass in its own.
"""
