"""Rule tests: sample events and the alerts that are expected of them, beside the rule."""
