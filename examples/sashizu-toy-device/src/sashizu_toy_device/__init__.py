"""Devices for sashizu that are made of a file."""
