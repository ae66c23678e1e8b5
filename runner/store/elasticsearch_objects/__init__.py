"""Everything that the runner creates in Elasticsearch: templates, indices, lifecycle policies and roles."""
