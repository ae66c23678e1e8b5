"""The command line as a shell sees it: help, completion, pages on a terminal."""
