"""The APIs that clients speak: what bounds a request, and where an answer says what it used."""
