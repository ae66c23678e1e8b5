"""What a parsed query means against a schema: fields and types checked, expressions simplified."""
