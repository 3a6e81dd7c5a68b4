"""What a training in a folder is that can be gone on with, whatever it trains."""
