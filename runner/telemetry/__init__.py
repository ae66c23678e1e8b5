"""What the runner shows of itself: logs, metrics, health, and the port they are read at."""
