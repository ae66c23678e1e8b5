"""Rules searched in files: one pass of the engine over the events for all rules."""
