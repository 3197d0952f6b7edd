"""GPUs and NPUs as the kernel of Linux tells of them, whoever made them."""
