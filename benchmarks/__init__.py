"""What `make bench` runs. Prints tables; may import everything."""
