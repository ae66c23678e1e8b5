"""What an analyst needs of a stored alert: the events in order, the process chain, the next searches."""
