"""Terms of single events, and when they were seen: what is new among them."""
