"""The start of the server: answers what it knows before anything is imported."""
