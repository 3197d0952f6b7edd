"""sashizu-offline."""
