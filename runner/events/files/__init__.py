"""From files to lines: which files, how they are opened, and where each line stands."""
