"""Objectives, noise, samplers, guidance and windows: everything between a denoiser and a result."""
