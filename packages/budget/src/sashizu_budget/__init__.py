"""sashizu-budget."""
