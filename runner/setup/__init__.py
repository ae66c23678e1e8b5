"""What is installed in a cluster and in Kibana: templates, policies, roles, saved objects."""
