"""sashizu-cli."""
