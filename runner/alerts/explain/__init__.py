"""Why a rule that counts, or that looks for what is new, does or does not make an alert of the events that it finds."""
