"""What is recorded: drivers, rollouts on disk, and V's view of them."""
