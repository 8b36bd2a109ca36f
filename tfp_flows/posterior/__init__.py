"""Fitting flows to unnormalized densities, and correcting the fit by importance."""
