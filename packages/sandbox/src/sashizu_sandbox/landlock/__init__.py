"""Holds files by Landlock where namespaces cannot be had: a part of what a sandbox has to do."""
