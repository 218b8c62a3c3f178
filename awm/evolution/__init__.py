"""C is evolved: CMA-ES, and the one search that begins somewhere and runs in a world."""
