"""Checks: functions from a source to findings. They read no file and run no program."""
