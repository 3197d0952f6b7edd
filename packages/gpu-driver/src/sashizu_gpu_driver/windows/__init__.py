"""GPUs and NPUs as Windows counts what they do."""
