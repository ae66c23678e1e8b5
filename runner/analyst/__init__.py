"""What an analyst asks and decides of stored alerts and of rules, for the command line and the pages alike."""
