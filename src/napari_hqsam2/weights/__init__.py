"""Weights: which exist, how they are fetched, checked and loaded."""
