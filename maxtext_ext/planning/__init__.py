"""Plans: what a configuration needs of a slice that nobody has rented yet."""
