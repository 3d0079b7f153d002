"""What a result is called, what it holds and how it is kept on disk. No method, no torch."""
