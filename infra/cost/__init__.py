"""What jobs cost: prices as data, and the sums."""
