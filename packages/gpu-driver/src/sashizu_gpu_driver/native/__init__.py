"""The native driver: its interface, its client, and the backend that speaks to it."""
