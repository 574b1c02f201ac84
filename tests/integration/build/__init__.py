"""The archives that a deployment uploads."""
