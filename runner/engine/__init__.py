"""Which events of a pass meet which stage, and which stages make a match. Knows no query language."""
