"""Dates as Elasticsearch reads them: formats, rounding, date math; times are nanoseconds since 1970."""
