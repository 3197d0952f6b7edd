"""Shows what the agents of a run did."""
