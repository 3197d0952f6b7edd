"""One agent at work: the loop, its model calls, its tool calls, and the record of its steps."""
