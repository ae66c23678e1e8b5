"""Rule files (TOML) to `Rule` records: `load_rules`, `reload`, date math, and the place of everything in its file."""
