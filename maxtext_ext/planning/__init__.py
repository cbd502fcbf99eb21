"""Plans: memory, time and price of a configuration on a slice, without the slice."""
