"""The record: one row per job, one row per attempt, and the moves between statuses."""
