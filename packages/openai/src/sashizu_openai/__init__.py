"""sashizu-openai."""
