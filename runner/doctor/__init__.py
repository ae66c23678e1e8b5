"""What this installation can do, and what is missing for which rule: checks that look and change nothing."""
