"""The commands `gateway` and `exec-with-budget`: the only modules here that print."""
