"""Media to tracks. Heavy imports stay inside the functions that need them."""
