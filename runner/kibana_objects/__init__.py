"""What `setup` installs in Kibana: data views, a saved search and a dashboard, each a file to be read and reviewed."""
