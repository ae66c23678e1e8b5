"""Fields: their types, their values, dates, and the index patterns that select documents."""
