"""Every setting of a run, typed: what keys there are, what each takes, and its default.

config/config.yaml and config/schema.yaml are made of these models (workflow/scripts/write_config.py).
A module for each stage, so that a script imports the settings of its own stage and no others: a
stage runs again when a file that it imports has changed. `run` joins them, `messages` turns what
pydantic finds into a sentence, `checks` holds settings against each other, against the files that
they name and against this machine.
"""
