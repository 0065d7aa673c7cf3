"""Measurements of edge-ser and of its peers: ``python -m benchmarks VERB``."""
