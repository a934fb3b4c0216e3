"""What models are judged on: one module or package for each kind of benchmark."""
