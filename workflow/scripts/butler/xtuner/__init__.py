"""What XTuner's processes import from this project."""

# Written into the work folder when training reached its last iteration.
FINISHED = "finished.json"
