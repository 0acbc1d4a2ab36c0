"""Comparing backbones: studies of several runs, statistics, cost measured here, and the paper's own numbers."""
