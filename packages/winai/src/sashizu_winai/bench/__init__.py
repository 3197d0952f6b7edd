"""What Windows AI really does on this machine, in figures."""
