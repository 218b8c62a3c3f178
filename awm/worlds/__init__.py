"""Where C drives: on the track or in M's dream, many episodes in lockstep."""
