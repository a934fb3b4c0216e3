"""What a run needs before it starts: host memory, GPU memory, disk and rough time of each stage.

`model_size` counts bytes from config.json, `measured` holds every constant that came from a
machine, `host_memory` is also what the rules ask for, and `fit` holds a plan against a machine.
"""
