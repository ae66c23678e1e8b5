"""Events: types of their fields, values, lines decoded into batches of columns, files read."""
