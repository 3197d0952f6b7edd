"""The tool `shell`: command lines are parsed, judged word by word, and run without a shell."""
