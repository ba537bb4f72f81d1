"""Figures for notebooks, and what they show as plain data."""
