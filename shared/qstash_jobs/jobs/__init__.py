"""The contracts: one module per job type, with its payload and its options, and nothing heavy."""
