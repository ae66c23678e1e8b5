"""Which windows are due, what is owed, and where every rule stands. Pure: nothing is read, nothing waits."""
