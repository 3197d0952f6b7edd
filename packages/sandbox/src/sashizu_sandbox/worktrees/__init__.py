"""A git worktree for each agent, and the merging of what they changed."""
