"""XTuner's training with its gaps closed first: `python -m butler.xtuner`, as `xtuner.tools.train`.

XTuner joins its processes before it reads what a configuration imports, so closing them there would
be too late for several processes on CPUs.
"""

from xtuner.tools.train import main

import butler.xtuner.support  # noqa: F401

if __name__ == "__main__":
    main()
