"""Figures, and the one self-contained page that every command writes. Uses no other room."""
