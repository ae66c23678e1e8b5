"""What every message about a text needs: places, pictures of them, near names."""
