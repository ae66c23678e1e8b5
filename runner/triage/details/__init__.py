"""What an analyst is shown of an event or of an alert, as plain (label, value) data."""
