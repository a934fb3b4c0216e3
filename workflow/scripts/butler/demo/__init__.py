"""Generators of what Recipe Butler ships: demo corpus, demo benchmark, pretraining text."""
