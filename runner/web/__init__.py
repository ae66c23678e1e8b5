"""The pages of a browser over alerts, rules and the state of the runner, and the report in one file."""
