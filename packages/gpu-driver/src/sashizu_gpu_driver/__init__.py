"""What GPUs and NPUs do, and memory that processes share."""
