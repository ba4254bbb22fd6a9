"""What gateways recorded of requests and answers, requests sent in their place, and whether answers are the model's."""
