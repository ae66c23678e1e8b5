"""Which windows are due, what is owed, and the status of every rule. Pure: no input, no waiting."""
