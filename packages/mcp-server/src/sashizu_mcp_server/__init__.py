"""Sandboxes, shell, network and worktrees of sashizu's agents."""
