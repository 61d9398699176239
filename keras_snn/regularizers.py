"""Regularizers of spike rates."""
