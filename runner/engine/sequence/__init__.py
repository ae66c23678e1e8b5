"""What becomes of the events that met a stage: join keys, open matches, sequences and samples."""
