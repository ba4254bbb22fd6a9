"""What gateways recorded: traffic in numbers, sampled requests, and whether they were answered as the model answers."""
