"""Believable data for the starter's tables: the same each time for the same scale and day."""
