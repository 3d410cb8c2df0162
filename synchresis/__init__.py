"""Sound for a picture, and a picture for a sound."""
