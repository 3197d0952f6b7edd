"""Messages of the Model Context Protocol between programs of Windows, judged by our policy."""
