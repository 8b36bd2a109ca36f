"""Targets without data: fitting to an unnormalized density, and correcting the fit."""
