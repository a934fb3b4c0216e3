"""The configuration file given to OpenCompass; `butler.benchmarks.opencompass.build` fills it."""

import os

# An import statement would switch mmengine to lazy imports, in which nothing can be called.
build = __import__("butler.benchmarks.opencompass.build", fromlist=["build_config"])
globals().update(build.build_config(os.environ["BUTLER_EVALUATION"]))
