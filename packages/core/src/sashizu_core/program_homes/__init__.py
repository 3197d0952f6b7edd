"""What must be shown of the machine for a program to start, and what of it stays hidden."""
