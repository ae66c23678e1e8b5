"""Why a query found what it found: how it was read, and what became of each event."""
