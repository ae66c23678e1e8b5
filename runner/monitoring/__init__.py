"""What the service shows of itself: metrics, whether it is alive and ready, and the port that both are read at."""
