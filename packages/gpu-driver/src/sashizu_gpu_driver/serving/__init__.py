"""Model servers that run only while they have a place."""
