"""The filter of system calls: what is denied, an assembler for it, and the finished programs."""
