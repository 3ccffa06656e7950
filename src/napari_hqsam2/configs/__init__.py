"""Hydra groups: trunk (size of the encoder), decoder, and size of the rest."""
