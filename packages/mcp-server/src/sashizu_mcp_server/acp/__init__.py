"""The Agent Client Protocol: sashizu's agents in an editor, over the conversations of `run`."""
