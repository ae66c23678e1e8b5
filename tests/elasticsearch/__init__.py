"""A real Elasticsearch for the tests, and a proxy before it that answers the EQL search API."""
