"""sashizu-audit."""
