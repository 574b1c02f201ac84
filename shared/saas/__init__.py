"""The SaaS starter's tables as the jobs see them; an adopter replaces this package."""
