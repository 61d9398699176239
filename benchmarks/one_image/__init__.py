"""One image alone, or 32, in the engine and in what runs dense networks."""
