"""What rules take from Kibana while they run: exception lists and saved queries, with their last good versions."""
