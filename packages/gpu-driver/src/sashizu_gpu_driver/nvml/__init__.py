"""GPUs of NVIDIA, through the library that its driver brings."""
