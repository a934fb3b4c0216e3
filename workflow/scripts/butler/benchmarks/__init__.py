"""What models are judged on: one module or package here for each kind of benchmark."""
