"""Every setting of a run, typed: what keys there are, what each takes, and its default.

config/config.yaml, config/schema.yaml and docs/settings.md are made of it by write_config.py. A
module for each stage, so that a script imports the settings of its own stage and no others: a stage
runs again when a file that it imports has changed. `run` joins them, `overlays` reads the files
that say what differs, `messages` turns what pydantic finds into a sentence, and
`cross_checks` holds settings against each other, the files that they name and this machine.
"""
