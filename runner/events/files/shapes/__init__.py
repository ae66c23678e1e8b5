"""Files without an event per line: archives, and the copies with a line for each event."""
