"""The command line: the only place that reads arguments, prints and exits."""

from runner.cli.app import main

__all__ = ["main"]
