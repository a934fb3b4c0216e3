"""The recipe benchmark: an answer taken apart and scored against the held-out recipe."""
