"""Holds programs by bubblewrap: namespaces, mounts, limits and a filter of system calls.

A launcher, a small process of its own, starts them: it stays small however large its parent is, and
ends everything when its parent dies.
"""
