"""Which events of a batch meet the conditions of which stages."""
