"""From lines to columns: decoding only the fields that are read, and grouping by a few of them."""
