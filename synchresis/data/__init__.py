"""What the models are trained from: the rendered stage, and recordings in a folder."""
