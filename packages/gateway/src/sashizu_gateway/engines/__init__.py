"""Programs of other vendors as agents: started, held, paid and listened to."""
