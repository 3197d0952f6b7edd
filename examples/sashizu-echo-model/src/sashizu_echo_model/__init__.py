"""Models that say back what they were told."""
